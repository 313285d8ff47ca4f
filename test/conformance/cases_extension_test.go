package conformance

import "vigil/internal/wire"

// extensionCases are SSH_AGENTC_EXTENSION apart from session binds.
var extensionCases = []testCase{
	{name: "query", do: func(r *run) {
		c := r.dial()
		c.do("query", extension("query"))
		c.do("query with data", extension("query", wire.AppendString(nil, "more")...))
	}},
	{name: "extensions that are not there", do: func(r *run) {
		c := r.dial()
		c.do("unknown", extension("unknown@example.com"))
		c.do("unknown with data", extension("unknown@example.com", 1, 2, 3))
		c.do("no name", extension(""))
		c.do("name cut short", []byte{agentcExtension, 0, 0, 0, 9, 'q'})
		c.do("nothing", []byte{agentcExtension})
		c.do("a name in capitals", extension("QUERY"))
		c.do("list", list())
	}},
}
