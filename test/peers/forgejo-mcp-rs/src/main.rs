//! The Forgejo MCP server of the crate `forgejo-mcp-rs`, as a child for tests.

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    forgejo_mcp_rs::forgejo::serve().await
}
