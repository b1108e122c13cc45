use tokio::net::TcpListener;

use super::*;

fn secrets(cluster: u8, keys: &[(u8, u8)]) -> Secrets {
    Secrets { cluster: ClusterId::from_bytes([cluster; 16]), keys: ring(keys) }
}

/// A ring comes to its other keys by the claims of a cluster; a token's key is the last one.
fn ring(keys: &[(u8, u8)]) -> KeyRing {
    let (id, byte) = keys[0];
    let mut ring = KeyRing::new(id, Key::from_bytes([byte; 32]));
    for (id, byte) in &keys[1..] {
        ring.add(*id, Key::from_bytes([*byte; 32]));
    }
    ring
}

async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (client, server) = tokio::join!(TcpStream::connect(address), listener.accept());
    (client.unwrap(), server.unwrap().0)
}

type Ends = (Result<(Reader, Writer), NoiseError>, Result<(Reader, Writer), NoiseError>);

async fn shake(client: &Secrets, server: &Secrets) -> Ends {
    let (a, b) = pair().await;
    let key = client.keys.primary();
    tokio::join!(connect(a, client, key), accept(b, server))
}

#[tokio::test]
async fn frames_of_every_size_arrive_whole_and_in_order() {
    let shared = secrets(1, &[(7, 9)]);
    let (client, server) = shake(&shared, &shared).await;
    let ((_keep, mut writer), (mut reader, _other)) = (client.unwrap(), server.unwrap());
    let frames: Vec<Vec<u8>> = [0, 1, 65_515, 65_516, 200_000, FRAME_BYTES_MAX]
        .into_iter()
        .map(|length| (0..length).map(|i| (i % 251) as u8).collect())
        .collect();
    let sent = frames.clone();
    let sender = tokio::spawn(async move {
        for frame in &sent {
            writer.write_frame(frame).await.unwrap();
        }
        assert!(matches!(
            writer.write_frame(&vec![0; FRAME_BYTES_MAX + 1]).await,
            Err(NoiseError::FrameTooLong(_))
        ));
        (writer, _keep)
    });
    for frame in &frames {
        assert_eq!(reader.read_frame().await.unwrap().as_ref(), Some(frame));
    }
    drop(sender.await.unwrap());
    assert!(reader.read_frame().await.unwrap().is_none());
}

#[tokio::test]
async fn an_older_key_of_the_ring_is_accepted() {
    let (client, server) = shake(&secrets(1, &[(1, 1)]), &secrets(1, &[(2, 2), (1, 1)])).await;
    assert!(client.is_ok() && server.is_ok());
}

#[tokio::test]
async fn another_cluster_another_key_and_an_unknown_key_are_told_apart() {
    let ours = secrets(1, &[(1, 1)]);
    let (client, server) = shake(&secrets(2, &[(1, 1)]), &ours).await;
    assert!(matches!(client, Err(NoiseError::ForeignCluster)));
    assert!(matches!(server, Err(NoiseError::ForeignCluster)));
    let (client, server) = shake(&secrets(1, &[(1, 5)]), &ours).await;
    assert!(matches!(client, Err(NoiseError::WrongKey)));
    assert!(matches!(server, Err(NoiseError::WrongKey)));
}

#[tokio::test]
async fn a_key_is_found_under_whatever_id_and_both_ends_name_it() {
    let ours = secrets(1, &[(2, 2), (1, 1)]);
    for id in [1, 2, 9] {
        let (client, server) = shake(&secrets(1, &[(id, 1)]), &ours).await;
        let ((_, client), (_, server)) = (client.unwrap(), server.unwrap());
        let name = Key::from_bytes([1; 32]).fingerprint();
        assert_eq!((client.key(), server.key()), (name, name));
    }
}

#[tokio::test]
async fn a_refusal_is_one_byte_and_noise_gets_none() {
    let ours = secrets(1, &[(1, 1)]);
    for (hello, replied) in [
        ([&b"WEFT"[..], &[VERSION], &[9; 16], &[1], &[0; 48]].concat(), 1),
        ([&b"WEFT"[..], &[77], &[1; 16], &[1], &[0; 48]].concat(), 1),
        (
            b"GET / HTTP/1.1\r\nHost: somewhere.example\r\nUser-Agent: a browser, perhaps".to_vec(),
            0,
        ),
    ] {
        let (mut client, server) = pair().await;
        let server = tokio::spawn({
            let ours = ours.clone();
            async move { accept(server, &ours).await.is_err() }
        });
        client.write_all(&hello).await.unwrap();
        let mut reply = Vec::new();
        // A reset instead of an end also means that no byte came.
        let _ = client.read_to_end(&mut reply).await;
        assert_eq!(reply.len(), replied);
        assert!(server.await.unwrap());
    }
}

#[tokio::test]
async fn a_damaged_message_ends_the_stream() {
    let shared = secrets(1, &[(1, 1)]);
    let (client, server) = shake(&shared, &shared).await;
    let ((_keep, mut writer), (mut reader, _other)) = (client.unwrap(), server.unwrap());
    writer
        .tcp
        .write_all(&[0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20])
        .await
        .unwrap();
    assert!(matches!(reader.read_frame().await, Err(NoiseError::Damaged)));
}

#[tokio::test]
async fn secrets_do_not_print() {
    let text = format!("{:?}", secrets(1, &[(1, 0xab)]));
    assert!(!text.contains("171") && !text.contains("ab, ab"), "{text}");
}
