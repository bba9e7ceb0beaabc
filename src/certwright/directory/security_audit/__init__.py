"""No escalation by configuration: what is dangerous about CAs, templates and their permissions, ESC1 to ESC17.

One source of truth for two readers. The **gate** (`directory.template_administration`, `ca.administration`) refuses a
change that would open an escalation. The **audit** (`certwright audit security`) names those that are there, on our
own CAs and on Microsoft's. Both ask the same rules: `template_risks`, `authorities`, `objects`.

Everything here is pure, over values (`facts`), except the one reader that fetches them from an Active Directory
(`over_ldap`). Where the numbers come from is said in `catalogue`.
"""
