"""Notifications: what happens in a certificate's life, told to people and programs who want to know.

Events come in (`Notifications.notify`, or `ca_events.CaEventExit` for those of a CA), rules choose among them, and
channels carry them: e-mail (RFC 5321, RFC 8314) and webhooks signed with HMAC-SHA-256 (RFC 2104). What is to be told
lies in a table until it is delivered, so neither a crash nor a mail server that is down loses it.
"""
