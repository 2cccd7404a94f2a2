module forgejo-mcp-operator.test/mkimage

go 1.26
