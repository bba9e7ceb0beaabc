"""Bindings and target names by themselves. [MS-NLMP] 2.2.2.1, 3.2.5.1.2; RFC 5929."""

from __future__ import annotations

import pytest

from certwright.adcs.errors import ConfigurationError
from certwright.auth.channel_binding import check_binding, check_target_name, host_of
from certwright.auth.mechanism import Refused
from certwright.auth.policy import AuthenticationPolicy, Binding, ChannelBinding, Scheme
from certwright.wire.ntlm import AvId, TargetInfo

PUBLISHED = (
    ("ea05fefecc6b0bd571dbbc5baa3ed45386d0446835f7b74c85621b9983475f95", "6586e99d81c2fc984e47172fd4dd0310"),
    ("e3ca49271e5089cc48ce82109f1324f41dbeddc29a777410c738f7868c4ff405", "6ea19df066da4622051f9c4f92c6df74"),
)
"""Certificate hash and MsvAvChannelBindings, from public write-ups of Windows clients."""


@pytest.mark.parametrize(("certificate", "binding"), PUBLISHED)
def test_binding_windows_sends_is_the_one_of_the_certificate(certificate: str, binding: str) -> None:
    info = TargetInfo(((AvId.CHANNEL_BINDINGS, bytes.fromhex(binding)),))
    ours = [b"tls-server-end-point:" + bytes.fromhex(certificate)]
    assert check_binding(info, ours, ChannelBinding.REQUIRE) is Binding.MATCHED
    with pytest.raises(Refused):
        check_binding(info, [b"tls-server-end-point:" + bytes(32)], ChannelBinding.ALLOW)


def test_absent_binding_is_noticed_under_allow_and_not_looked_for_under_off() -> None:
    assert check_binding(TargetInfo(), [], ChannelBinding.ALLOW) is Binding.ABSENT
    assert check_binding(TargetInfo(), [], ChannelBinding.OFF) is Binding.UNCHECKED
    with pytest.raises(Refused):
        check_binding(TargetInfo(), [b"x"], ChannelBinding.REQUIRE)


def test_target_name_that_is_no_text_is_refused() -> None:
    info = TargetInfo(((AvId.TARGET_NAME, b"\x00\xd8\x41"),))
    with pytest.raises(Refused):
        check_target_name(info, {"ca.corp.example"}, ChannelBinding.REQUIRE)


@pytest.mark.parametrize(
    ("name", "host"),
    [
        ("CA.corp.example", "ca.corp.example"),
        ("ca.corp.example.:8443", "ca.corp.example"),
        ("[2001:DB8::1]:443", "2001:db8::1"),
        ("2001:db8::1", "2001:db8::1"),
        ("", ""),
    ],
)
def test_hosts_are_compared_without_port_case_and_final_dot(name: str, host: str) -> None:
    assert host_of(name) == host


def test_settings_become_a_policy() -> None:
    policy = AuthenticationPolicy.from_settings("Require", ntlm=False)
    assert policy.channel_binding is ChannelBinding.REQUIRE
    assert policy.schemes == {Scheme.NEGOTIATE, Scheme.BASIC}
    assert AuthenticationPolicy.from_settings("allow", basic=False, negotiate=False).schemes == {Scheme.NTLM}
    with pytest.raises(ConfigurationError, match="off, allow or require"):
        AuthenticationPolicy.from_settings("sometimes")


def test_require_is_the_default() -> None:
    assert AuthenticationPolicy().channel_binding is ChannelBinding.REQUIRE


def test_require_admits_matched_bindings_and_basic_only() -> None:
    require = AuthenticationPolicy(ChannelBinding.REQUIRE)
    assert [binding for binding in Binding if require.admits(binding)] == [Binding.MATCHED, Binding.NOT_NEEDED]
    assert all(AuthenticationPolicy(ChannelBinding.ALLOW).admits(binding) for binding in Binding)
