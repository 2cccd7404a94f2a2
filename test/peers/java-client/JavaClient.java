import io.modelcontextprotocol.client.McpAsyncClient;
import io.modelcontextprotocol.client.McpClient;
import io.modelcontextprotocol.client.transport.HttpClientStreamableHttpTransport;
import io.modelcontextprotocol.json.McpJsonDefaults;
import io.modelcontextprotocol.json.McpJsonMapper;
import io.modelcontextprotocol.spec.McpError;
import io.modelcontextprotocol.spec.McpSchema;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import reactor.core.publisher.Mono;

/**
 * JavaClient is an MCP client on the official Java SDK, driven by lines of JSON: JavaClient URL.
 *
 * <p>The actions on stdin, the answers on stdout and the environment (MCP_TOKEN, MCP_HEADERS) are those of ../python-client/client.py, so a test runs
 * the same script through all of them. Differences are the SDK's: it knows no later revision than 2025-11-25, it tells neither session ids nor
 * statuses, and a call is given up by disposing of its Mono, of which the server is not told.
 */
public final class JavaClient {
  /** Bounds what an action may take where it names no time of its own. */
  private static final Duration PATIENCE = Duration.ofMinutes(5);

  private static final McpJsonMapper JSON = McpJsonDefaults.getMapper();

  private final URI url;
  private McpAsyncClient client;
  private final List<String> asked = new ArrayList<>();
  private final List<Double> progress = new ArrayList<>();
  private int logged;
  private Runnable progressed = () -> {};

  private JavaClient(URI url) {
    this.url = url;
  }

  private static String text(Map<?, ?> action, String name) {
    return action.get(name) instanceof String value ? value : "";
  }

  @SuppressWarnings("unchecked")
  private static Map<String, Object> object(String text) throws Exception {
    return JSON.readValue(text, Map.class);
  }

  private synchronized void note(String method) {
    asked.add(method);
  }

  private <T> Mono<T> answer(String method, Object result, Class<T> kind) {
    note(method);
    return Mono.just(JSON.convertValue(result, kind));
  }

  private Object open() throws Exception {
    Map<String, String> headers = new HashMap<>();
    String extra = System.getenv("MCP_HEADERS");
    if (extra != null) object(extra).forEach((name, value) -> headers.put(name, String.valueOf(value)));
    String token = System.getenv("MCP_TOKEN");
    if (token != null) headers.put("Authorization", "Bearer " + token);
    var transport =
        HttpClientStreamableHttpTransport.builder(url.getScheme() + "://" + url.getAuthority())
            .endpoint(url.getPath())
            // Messages of any size must pass here.
            .maxResponseSize(256 << 20)
            .addHttpRequestCustomizer((request, method, uri, body, context) -> headers.forEach(request::setHeader))
            .build();
    client =
        McpClient.async(transport)
            .requestTimeout(PATIENCE)
            .clientInfo(McpSchema.Implementation.builder("java-client", "1.0.0").build())
            .capabilities(McpSchema.ClientCapabilities.builder().roots(true).sampling().elicitation().build())
            .roots(McpSchema.Root.builder("file:///java-client").name("java-client").build())
            .sampling(
                request ->
                    answer(
                        "sampling/createMessage",
                        Map.of(
                            "role",
                            "assistant",
                            "content",
                            Map.of("type", "text", "text", "sampled by java-client"),
                            "model",
                            "none",
                            "stopReason",
                            "endTurn"),
                        McpSchema.CreateMessageResult.class))
            .elicitation(
                request ->
                    answer("elicitation/create", Map.of("action", "accept", "content", Map.of()), McpSchema.ElicitResult.class))
            .loggingConsumer(
                message -> {
                  synchronized (this) {
                    logged++;
                  }
                  return Mono.empty();
                })
            .progressConsumer(
                step -> {
                  Runnable tell;
                  synchronized (this) {
                    progress.add(step.progress());
                    tell = progressed;
                  }
                  tell.run();
                  return Mono.empty();
                })
            .build();
    var agreed = client.initialize().block(PATIENCE);
    return Map.of("protocolVersion", agreed.protocolVersion(), "serverInfo", agreed.serverInfo());
  }

  private Object perform(Map<String, Object> action) throws Exception {
    String wanted = text(action, "do");
    if (wanted.equals("initialize")) return open();
    if (client == null) throw new IllegalStateException("initialize first");
    Duration patience = action.get("timeoutMs") instanceof Number ms ? Duration.ofMillis(ms.longValue()) : PATIENCE;
    switch (wanted) {
      case "tools":
        return client.listTools().block(patience).tools().stream().map(McpSchema.Tool::name).toList();
      case "ping":
        client.ping().block(patience);
        return Map.of();
      case "level":
        client.setLoggingLevel(McpSchema.LoggingLevel.fromValue(text(action, "level"))).block(patience);
        return Map.of();
      case "call":
        return call(action, patience);
      default:
        throw new IllegalArgumentException("no such action: " + wanted);
    }
  }

  @SuppressWarnings("unchecked")
  private Object call(Map<String, Object> action, Duration patience) throws Exception {
    var request = McpSchema.CallToolRequest.builder(text(action, "name"));
    request.arguments(action.get("arguments") instanceof Map<?, ?> given ? (Map<String, Object>) given : Map.of());
    boolean cancel = Boolean.TRUE.equals(action.get("cancel"));
    if (cancel || Boolean.TRUE.equals(action.get("progress"))) request.progressToken("progress");
    CompletableFuture<McpSchema.CallToolResult> call = new CompletableFuture<>();
    synchronized (this) {
      asked.clear();
      progress.clear();
      logged = 0;
      progressed = cancel ? () -> call.cancel(true) : () -> {};
    }
    var running = client.callTool(request.build()).subscribe(call::complete, call::completeExceptionally);
    Map<String, Object> told;
    try {
      told = new LinkedHashMap<>(JSON.convertValue(call.get(patience.toMillis(), TimeUnit.MILLISECONDS), Map.class));
    } finally {
      running.dispose();
    }
    synchronized (this) {
      told.put("asked", List.copyOf(asked));
      told.put("progress", List.copyOf(progress));
      told.put("logged", logged);
    }
    return told;
  }

  private Map<String, Object> act(Map<String, Object> action) {
    long began = System.nanoTime();
    Map<String, Object> said = new LinkedHashMap<>();
    said.put("did", text(action, "do"));
    try {
      Object result = Map.of();
      if (!text(action, "do").equals("close")) result = perform(action);
      else if (client != null) client.closeGracefully().block(PATIENCE);
      said.put("ok", true);
      said.put("result", result);
    } catch (Exception error) {
      said.put("ok", false);
      said.put("error", told(error));
    }
    said.put("ms", (System.nanoTime() - began) / 1000 / 1000.0);
    return said;
  }

  /** The error, freed of the wrappers that a future and a reactor put around it. */
  private static Map<String, Object> told(Throwable error) {
    while (error.getCause() != null
        && (error instanceof ExecutionException || error.getClass().getName().startsWith("reactor."))) error = error.getCause();
    Map<String, Object> said = new LinkedHashMap<>();
    said.put("type", error.getClass().getSimpleName());
    StringBuilder words = new StringBuilder(String.valueOf(error.getMessage()));
    for (Throwable one = error; one != null; one = one.getCause()) {
      if (one != error) words.append(": ").append(one.getMessage());
      if (one instanceof McpError remote && remote.getJsonRpcError() != null)
        said.putIfAbsent("code", remote.getJsonRpcError().code());
    }
    said.put("message", words.toString());
    return said;
  }

  public static void main(String[] arguments) throws Exception {
    if (arguments.length != 1) {
      System.err.println("usage: JavaClient URL");
      System.exit(64);
    }
    var talk = new JavaClient(URI.create(arguments[0]));
    var in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    var out = new PrintStream(System.out, true, StandardCharsets.UTF_8);
    while (true) {
      String line = in.readLine();
      Map<String, Object> action = line == null ? Map.of("do", "close") : object(line);
      out.println(JSON.writeValueAsString(talk.act(action)));
      // The SDK's own threads would keep the program alive.
      if (text(action, "do").equals("close")) System.exit(0);
    }
  }
}
