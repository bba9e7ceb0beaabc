"""E-mail by SMTP (RFC 5321) in plain text, over TLS (RFC 3207, RFC 8314)."""

from __future__ import annotations

import smtplib
import socket
import ssl
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from typing import Final

from certwright.notifications.channels.base import (
    ANSWER_TIMEOUT,
    ChannelError,
    Message,
    printable,
    verifying_context,
)
from certwright.notifications.values import EmailFields, MailSecurity

_MAX_SUBJECT: Final = 200


class EmailSender:
    """Sends through one mail server, a connection for each message.

    Args:
        hostname: this host, as it introduces itself.
    """

    def __init__(self, fields: EmailFields, password: str, hostname: str) -> None:
        self._fields = fields
        self._password = password
        self._hostname = hostname

    def send(self, message: Message) -> str:
        fields = self._fields
        server = f"the mail server {fields.host}"
        try:
            with self._connected() as smtp:
                if fields.username:
                    smtp.login(fields.username, self._password)
                refused = smtp.send_message(self._mail(message), fields.sender, list(fields.recipients))
        except smtplib.SMTPAuthenticationError as error:
            raise ChannelError(
                f"{server} refuses the logon of {fields.username} ({error.smtp_code}); enter the password again",
                unreachable=True,
            ) from None  # its text may repeat what we sent
        except smtplib.SMTPNotSupportedError as error:
            raise ChannelError(f"{server} cannot do what the channel asks for: {error}", unreachable=True) from error
        except smtplib.SMTPRecipientsRefused as error:
            reasons = "; ".join(f"{who}: {_said(code, text)}" for who, (code, text) in error.recipients.items())
            raise ChannelError(f"{server} refuses every recipient: {reasons}") from error
        except smtplib.SMTPResponseException as error:
            raise ChannelError(f"{server} refuses the message: {_said(error.smtp_code, error.smtp_error)}") from error
        except ssl.SSLCertVerificationError as error:
            raise ChannelError(
                f"the certificate of {server} is not trusted ({error.verify_message}); pin its CA for the channel",
                unreachable=True,
            ) from error
        except (smtplib.SMTPException, OSError) as error:
            raise ChannelError(f"{server} cannot be used: {_why(error)}", unreachable=True) from error
        taken = f"taken by {fields.host}"
        if refused:
            taken += f", which refused {', '.join(sorted(refused))}"
        return printable(taken)

    def _connected(self) -> smtplib.SMTP:
        fields = self._fields
        if fields.security is MailSecurity.TLS:
            return smtplib.SMTP_SSL(
                fields.host,
                fields.port,
                local_hostname=self._hostname,
                timeout=ANSWER_TIMEOUT,
                context=verifying_context(fields.ca_pem),
            )
        smtp = smtplib.SMTP(fields.host, fields.port, local_hostname=self._hostname, timeout=ANSWER_TIMEOUT)
        if fields.security is MailSecurity.STARTTLS:
            try:
                smtp.starttls(context=verifying_context(fields.ca_pem))
                smtp.ehlo()
            except BaseException:
                smtp.close()
                raise
        return smtp

    def _mail(self, message: Message) -> EmailMessage:
        mail = EmailMessage()
        mail["Subject"] = printable(message.subject)[:_MAX_SUBJECT]
        mail["From"] = Address("Certwright", addr_spec=self._fields.sender)
        mail["To"] = [Address(addr_spec=each) for each in self._fields.recipients]
        mail["Date"] = format_datetime(message.when)
        mail["Message-ID"] = f"<{message.id}@{self._hostname}>"
        mail["Auto-Submitted"] = "auto-generated"  # RFC 3834 5: no vacation answers
        mail["X-Certwright-Event"] = message.kind
        mail.set_content(message.text)
        return mail


def _said(code: int, text: bytes | str) -> str:
    words = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    return f"{code} {printable(words)[:160]}"


def _why(error: Exception) -> str:
    match error:
        case socket.gaierror():
            return "its name cannot be resolved"
        case ConnectionRefusedError():
            return "it refuses connections to the port"
        case TimeoutError():
            return "it does not answer in time"
        case ssl.SSLError():
            return f"TLS fails ({error.reason or 'no reason given'})"
        case _:
            return str(error) or type(error).__name__
