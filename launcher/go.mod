module forgejo-mcp-operator/launcher

go 1.26
