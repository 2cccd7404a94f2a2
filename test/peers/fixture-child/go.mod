module forgejo-mcp-operator/test/peers/fixture-child

go 1.26
