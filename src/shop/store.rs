use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

/// Answers `GET key` lines with a value, one line each.
pub async fn serve(listener: TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            // A connection that breaks is what a demo of broken connections is about.
            let _ = session(stream).await;
        });
    }
}

async fn session(stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        tokio::time::sleep(Duration::from_millis(1)).await;
        let answer = match line.trim_end().strip_prefix("GET ") {
            Some(key) => format!("VALUE {key} 3 items\n"),
            None => "ERROR send GET key\n".to_owned(),
        };
        stream.get_mut().write_all(answer.as_bytes()).await?;
        line.clear();
    }
    Ok(())
}
