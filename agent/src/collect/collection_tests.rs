use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use super::*;

const TEXT: &str = "vllm:generation_tokens_total{engine=\"0\"} 5\n\
                    vllm:num_requests_running{engine=\"0\"} 1\nvllm:num_requests_waiting{engine=\"0\"} 0\n";

/// Takes connections for as long as the test lasts, and has `answer` done with each.
fn server(answer: impl Fn(TcpStream) + Send + 'static) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    // Ends with the test's process.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            answer(stream);
        }
    });
    let server = std::process::id();
    Served { server, start: 1, port: address.port(), listening: vec![address] }
}

/// The same, whose answer is these bytes.
fn says(bytes: impl Into<Vec<u8>>) -> Served {
    let bytes = bytes.into();
    server(move |mut stream| {
        let _asked = stream.read(&mut [0; 1024]);
        // Who asked may have heard enough.
        let _gone = stream.write_all(&bytes);
    })
}

/// Takes connections and says nothing at all.
fn silent_server() -> Served {
    let held = std::sync::Mutex::new(Vec::new());
    server(move |stream| held.lock().unwrap().push(stream))
}

fn http(head: &str, body: &str) -> String {
    format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

async fn refused(served: Served) -> String {
    let patience = Duration::from_secs(2);
    ask(&served, patience).await.unwrap_err()
}

#[tokio::test]
async fn an_answer_is_read() {
    let reading = ask(&says(http("200 OK", TEXT)), PATIENCE).await.unwrap();
    assert_eq!((reading.generated(), reading.running()), (5.0, 1.0));
    // As vLLM sends it, in pieces.
    let chunks = format!(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{TEXT}\r\n0\r\n\r\n",
        TEXT.len()
    );
    assert!(ask(&says(chunks), PATIENCE).await.is_ok());
}

#[tokio::test]
async fn answers_that_are_none_are_named() {
    for (served, part) in [
        (says(http("307 x\r\nLocation: http://127.0.0.1:1/", TEXT)), "answered 307"),
        (says(http("503 Service Unavailable", "")), "answered 503"),
        (says(http("200 OK\r\nContent-Encoding: gzip", TEXT)), "encoding"),
        (says(http("200 OK", "up 1\n")), "`vllm:generation_tokens_total`"),
        (says("SSH-2.0-OpenSSH_9.2\r\n"), "no plain HTTP"),
        (says(""), "no plain HTTP"),
        (says(format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "x".repeat(1 << 20))), "no plain HTTP"),
        (says("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nvllm"), "broke off"),
        (says("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nvllm"), "more than"),
        (says(format!("HTTP/1.1 200 OK\r\n\r\n{}", TEXT.repeat(1 << 16))), "more than"),
    ] {
        let error = refused(served).await;
        assert!(error.contains(part) && !error.contains('\n'), "{part}: {error}");
    }
    let nobody = Served { port: 1, ..says("") };
    assert!(refused(nobody).await.contains("none of its processes listens"));
}

#[tokio::test]
async fn who_never_comes_to_an_end_is_given_up() {
    let slow = server(|mut stream| {
        std::thread::spawn(move || {
            let _asked = stream.write_all(b"HTTP/1.1 200 OK\r\nX: ");
            while stream.write_all(b"x").is_ok() {
                std::thread::sleep(Duration::from_millis(100));
            }
        });
    });
    let begin = std::time::Instant::now();
    assert!(refused(slow).await.contains("took more than 2 s"));
    assert!(begin.elapsed() < Duration::from_secs(4));
    // Nothing is said at all.
    let silent = silent_server();
    assert!(refused(silent).await.contains("took more than 2 s"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn one_that_hangs_holds_up_nobody() {
    let (mut collection, running) = Collection::new(Duration::from_millis(50));
    let task = tokio::spawn(running);
    let good = Served { start: 2, ..says(http("200 OK", TEXT)) };
    let silent = silent_server();
    collection.publish(vec![silent.clone(), good.clone()]);
    assert_eq!(collection.well(), None);
    let mut heard = 0;
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_millis(50)).await;
        let reports = collection.take();
        assert!(reports.iter().all(|report| report.start == 2 && report.outcome.is_ok()));
        heard += reports.len();
    }
    assert!(heard > 5, "{heard} answers in two seconds");
    assert_eq!((collection.well(), collection.counts().1), (Some(true), 0));
    // Gone: nothing is said of it any further.
    collection.publish(Vec::new());
    assert_eq!(collection.well(), None);
    drop(collection);
    tokio::time::timeout(Duration::from_secs(1), task).await.unwrap().unwrap();
}
