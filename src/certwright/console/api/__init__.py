"""The REST API below `/api/v1/`: what the pages do, for programs. django-ninja; OpenAPI 3.1 published.

`tests/web/console/test_api_completeness.py` holds every page and act against an operation, or says why there is none.

A noun is a module with a `router`; an operation is a function there:

    @operation(router, "GET", "/orders", OrderPage)          # the answer's shape; status=201, produces="text/csv"
    def list_orders(request: ApiRequest, asked: Query[OrderFilters]) -> OrderPage:
        '''List orders.'''                                # summary; what follows the first line describes it

Its operation ID is its name in camel case, and `permissions.PERMISSIONS` must have it: scope and roles, checked by
`authentication.Guard` before anything of the request is read. Nothing is decided here: values in, the same services
as the pages use (`rooms()`), values out; acts on a CA by `administer(config, viewer.requester)` and no other way.

| Module | What it is |
|---|---|
| `permissions` | the one table: operation -> scope and roles |
| `authentication` | who asks: a token, or the browser's own session with its CSRF token |
| `operations` | the decorator |
| `risks` | members by which a risk is accepted |
| `shapes` | names, numbers and times that all nouns share |
| `problems` | the one shape of everything that is refused |
| `application` | the nouns put together, their URLs |
| `description` | the OpenAPI document |

Texts are English, whatever the browser speaks: programs read them, and logs keep them.
"""
