//! rust-client is an MCP client on the official Rust SDK (rmcp), driven by lines of JSON: rust-client URL.
//!
//! The actions on stdin, the answers on stdout and the environment (MCP_TOKEN, MCP_HEADERS) are those of ../python-client/client.py, so a
//! test runs the same script through all of them. Differences are the SDK's: it tells no session id, puts a progress token on every call,
//! and its errors carry a status only where one counts to it.

// Sampling, roots and logging are deprecated in the newest revision, and what the older ones are made of.
#![allow(deprecated)]

use std::{
    collections::HashMap,
    error::Error,
    str::FromStr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use rmcp::{
    ClientHandler, ErrorData, RoleClient, ServiceError,
    model::{
        CallToolRequest, CallToolRequestParams, ClientConfig, ClientRequest, CreateMessageRequestParams, CreateMessageResult,
        ElicitRequestParams, ElicitResult, ListRootsResult, LoggingMessageNotificationParam, PingRequest, ProgressNotificationParam,
        ProtocolVersion, ServerResult, SetLevelRequest,
    },
    service::{ClientLifecycleMode, ClientServiceExt, NotificationContext, PeerRequestOptions, RequestContext, RunningService},
    transport::{
        StreamableHttpClientTransport,
        streamable_http_client::{HttpStatusError, StreamableHttpClientTransportConfig},
    },
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    sync::Notify,
};

type Failure = Box<dyn Error + Send + Sync>;

/// Bounds what an action may take where it names no time of its own.
const DEFAULT_PATIENCE: Duration = Duration::from_secs(300);

/// What the server said unasked, since the last call began.
#[derive(Default)]
struct Heard {
    asked: Mutex<Vec<&'static str>>,
    progress: Mutex<Vec<f64>>,
    logged: Mutex<u64>,
    progressed: Notify,
}

impl Heard {
    /// Waits for progress of this call; a notice that an earlier call left behind does not count.
    async fn first_progress(&self) {
        while self.progress.lock().unwrap().is_empty() {
            self.progressed.notified().await;
        }
    }
}

struct Handler(Arc<Heard>);

impl ClientHandler for Handler {
    async fn create_message(
        &self,
        _: CreateMessageRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<CreateMessageResult, ErrorData> {
        self.0.asked.lock().unwrap().push("sampling/createMessage");
        Ok(serde_json::from_value(json!({
            "role": "assistant", "content": {"type": "text", "text": "sampled by rust-client"}, "model": "none", "stopReason": "endTurn",
        }))
        .unwrap())
    }

    async fn create_elicitation(&self, _: ElicitRequestParams, _: RequestContext<RoleClient>) -> Result<ElicitResult, ErrorData> {
        self.0.asked.lock().unwrap().push("elicitation/create");
        Ok(serde_json::from_value(json!({"action": "accept", "content": {}})).unwrap())
    }

    async fn list_roots(&self, _: RequestContext<RoleClient>) -> Result<ListRootsResult, ErrorData> {
        self.0.asked.lock().unwrap().push("roots/list");
        Ok(serde_json::from_value(json!({"roots": [{"uri": "file:///rust-client", "name": "rust-client"}]})).unwrap())
    }

    async fn on_progress(&self, params: ProgressNotificationParam, _: NotificationContext<RoleClient>) {
        self.0.progress.lock().unwrap().push(params.progress);
        self.0.progressed.notify_one();
    }

    async fn on_logging_message(&self, _: LoggingMessageNotificationParam, _: NotificationContext<RoleClient>) {
        *self.0.logged.lock().unwrap() += 1;
    }

    fn get_info(&self) -> ClientConfig {
        serde_json::from_value(json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {"sampling": {}, "elicitation": {}, "roots": {"listChanged": true}},
            "clientInfo": {"name": "rust-client", "version": "1.0.0"},
        }))
        .unwrap()
    }
}

struct Conversation {
    url: String,
    heard: Arc<Heard>,
    service: Option<RunningService<RoleClient, Handler>>,
}

impl Conversation {
    async fn open(&mut self, mode: &str) -> Result<Value, Failure> {
        let mut config = StreamableHttpClientTransportConfig::with_uri(self.url.as_str()).max_sse_event_size(256 << 20);
        if let Ok(token) = std::env::var("MCP_TOKEN") {
            config = config.auth_header(token);
        }
        if let Ok(headers) = std::env::var("MCP_HEADERS") {
            let headers: HashMap<String, String> = serde_json::from_str(&headers)?;
            let mut custom = HashMap::new();
            for (name, value) in headers {
                custom.insert(FromStr::from_str(&name)?, FromStr::from_str(&value)?);
            }
            config = config.custom_headers(custom);
        }
        // As the SDK recommends for both: "auto" probes with server/discover and falls back to initialize.
        let lifecycle = match mode {
            "auto" => ClientLifecycleMode::Auto { preferred_versions: vec![ProtocolVersion::V_2026_07_28], legacy_version: None },
            _ => ClientLifecycleMode::Initialize,
        };
        let transport = StreamableHttpClientTransport::from_config(config);
        let service = Handler(self.heard.clone()).serve_with_lifecycle(transport, lifecycle).await?;
        let agreed = serde_json::to_value(service.peer_info())?;
        self.service = Some(service);
        Ok(agreed)
    }

    async fn perform(&mut self, action: &Value) -> Result<Value, Failure> {
        let wanted = action["do"].as_str().unwrap_or_default();
        if wanted == "initialize" {
            return self.open(action["mode"].as_str().unwrap_or("legacy")).await;
        }
        let service = self.service.as_ref().ok_or("initialize first")?;
        match wanted {
            "tools" => Ok(service.list_all_tools().await?.iter().map(|tool| tool.name.clone()).collect()),
            "ping" => {
                service.send_request(ClientRequest::PingRequest(PingRequest::default())).await?;
                Ok(json!({}))
            }
            "level" => {
                let level: SetLevelRequest = serde_json::from_value(json!({
                    "method": "logging/setLevel", "params": {"level": action["level"]},
                }))?;
                service.send_request(ClientRequest::SetLevelRequest(level)).await?;
                Ok(json!({}))
            }
            "call" => self.call(action).await,
            other => Err(format!("no such action: {other}").into()),
        }
    }

    async fn call(&self, action: &Value) -> Result<Value, Failure> {
        let service = self.service.as_ref().ok_or("initialize first")?;
        *self.heard.asked.lock().unwrap() = vec![];
        *self.heard.progress.lock().unwrap() = vec![];
        *self.heard.logged.lock().unwrap() = 0;
        let mut params = CallToolRequestParams::new(action["name"].as_str().unwrap_or_default().to_owned());
        if let Value::Object(arguments) = &action["arguments"] {
            params = params.with_arguments(arguments.clone());
        }
        let result = if action["cancel"] == json!(true) {
            let request = ClientRequest::CallToolRequest(CallToolRequest::new(params));
            let mut handle = service.send_cancellable_request(request, PeerRequestOptions::no_options()).await?;
            tokio::select! {
                biased;
                _ = self.heard.first_progress() => {
                    handle.cancel(Some("the test gives up".to_owned())).await?;
                    return Err(Box::new(ServiceError::Cancelled { reason: None }));
                }
                answer = &mut handle.rx => match answer?? {
                    ServerResult::CallToolResult(result) => result,
                    _ => return Err(Box::new(ServiceError::UnexpectedResponse)),
                },
            }
        } else {
            service.call_tool(params).await?
        };
        let mut told = serde_json::to_value(result)?;
        told["asked"] = json!(*self.heard.asked.lock().unwrap());
        told["progress"] = json!(*self.heard.progress.lock().unwrap());
        told["logged"] = json!(*self.heard.logged.lock().unwrap());
        Ok(told)
    }

    async fn act(&mut self, action: &Value) -> Value {
        let wanted = action["do"].as_str().unwrap_or_default();
        let began = Instant::now();
        let outcome = if wanted == "close" {
            match self.service.take() {
                Some(mut service) => service.close().await.map(|_| json!({})).map_err(|error| error.into()),
                None => Ok(json!({})),
            }
        } else {
            let patience = action["timeoutMs"].as_u64().map_or(DEFAULT_PATIENCE, Duration::from_millis);
            match tokio::time::timeout(patience, self.perform(action)).await {
                Ok(outcome) => outcome,
                Err(late) => Err(late.into()),
            }
        };
        let ms = began.elapsed().as_micros() as f64 / 1000.0;
        match outcome {
            Ok(result) => json!({"did": wanted, "ok": true, "result": result, "ms": ms}),
            Err(error) => json!({"did": wanted, "ok": false, "error": told(error.as_ref()), "ms": ms}),
        }
    }
}

/// An error as the others tell it: type, message, the JSON-RPC code and the status where it has them.
fn told(error: &(dyn Error + 'static)) -> Value {
    let mut words = vec![error.to_string()];
    let mut said = json!({"type": "Error"});
    let mut next: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(one) = next {
        if let Some(service) = one.downcast_ref::<ServiceError>() {
            said["type"] = json!(format!("ServiceError::{}", format!("{service:?}").split(['(', ' ', '{']).next().unwrap_or_default()));
            if let ServiceError::McpError(remote) = service {
                said["code"] = json!(remote.code.0);
            }
        }
        if let Some(refused) = one.downcast_ref::<HttpStatusError>() {
            said["status"] = json!(refused.status);
        }
        next = one.source();
        if let Some(inner) = next {
            words.push(inner.to_string());
        }
    }
    said["message"] = json!(words.join(": "));
    said
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Failure> {
    let Some(url) = std::env::args().nth(1) else {
        eprintln!("usage: rust-client URL");
        std::process::exit(64);
    };
    let mut talk = Conversation { url, heard: Arc::default(), service: None };
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut out = tokio::io::stdout();
    loop {
        let action = match lines.next_line().await? {
            Some(line) => serde_json::from_str(&line)?,
            None => json!({"do": "close"}),
        };
        let mut answer = talk.act(&action).await.to_string();
        answer.push('\n');
        out.write_all(answer.as_bytes()).await?;
        out.flush().await?;
        if action["do"] == json!("close") {
            return Ok(());
        }
    }
}
