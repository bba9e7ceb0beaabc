"""What several tests share: builders, fakes with the production interfaces, servers under test."""
