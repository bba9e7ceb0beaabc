"""The Online Responder: who asks whether a certificate is good, learns it here. RFC 6960, RFC 5019, [MS-OCSPA].

`responder` answers from memory or signs anew; `configuration` is a revocation configuration as values; `revocation`
says what a revocation provider is; `views` puts requests and answers on the web; `signing` keeps the signing
certificates. CAs whose database is not here are `sources` of CRLs; `lists` says which are taken and what they tell,
`copied` answers from them. `service` and `store` keep all of it.
"""
