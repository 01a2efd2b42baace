"""A way to the Docker engine that a test can cut: proxy.py LISTEN ENGINE-SOCKET [MODE | CERTIFICATES].

LISTEN is the path of a socket, or the number of a port on 127.0.0.1 that speaks TLS and wants a
certificate of the client (CERTIFICATES: a folder with ca.pem, server-cert.pem, server-key.pem)."""

import os
import socket
import ssl
import sys
import threading

listen, engine, extra = sys.argv[1], sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else None
context = None
if listen.isdigit():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(extra + "/server-cert.pem", extra + "/server-key.pem")
    context.load_verify_locations(extra + "/ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    server = socket.create_server(("127.0.0.1", int(listen)))
else:
    if os.path.exists(listen):
        os.unlink(listen)
    server = socket.socket(socket.AF_UNIX)
    server.bind(listen)
    if extra:
        os.chmod(listen, int(extra, 8))
    server.listen(64)


def serve_tls(raw):
    """One thread for both directions: a TLS connection is not to be used by two."""
    import select

    try:
        client = context.wrap_socket(raw, server_side=True)
    except (ssl.SSLError, OSError):
        raw.close()
        return
    back = socket.socket(socket.AF_UNIX)
    back.connect(engine)
    readers = [client, back]
    try:
        while back in readers:
            ready = [client] if client in readers and client.pending() else select.select(readers, [], [])[0]
            if client in ready:
                data = client.recv(65536)
                if data:
                    back.sendall(data)
                else:
                    # The end of a program's input; what it prints is still to come.
                    readers.remove(client)
                    back.shutdown(socket.SHUT_WR)
            if back in ready:
                data = back.recv(65536)
                if data:
                    client.sendall(data)
                else:
                    readers.remove(back)
        client.settimeout(2)
        client.unwrap()
    except OSError:
        pass
    finally:
        client.close()
        back.close()


def pump(source, target):
    try:
        while True:
            data = source.recv(65536)
            if not data:
                break
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass


def serve_plain(client):
    back = socket.socket(socket.AF_UNIX)
    back.connect(engine)
    up = threading.Thread(target=pump, args=(client, back), daemon=True)
    up.start()
    pump(back, client)
    up.join()
    client.close()
    back.close()


print("ready", flush=True)
while True:
    connection, _ = server.accept()
    work = serve_tls if context else serve_plain
    threading.Thread(target=work, args=(connection,), daemon=True).start()
