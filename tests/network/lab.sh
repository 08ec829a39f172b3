# The network in which the tests of steps' networks run: sourced in namespaces of its own, with DIR, TUN and KILN set.
set -eu
cd "$DIR"
# The program stands at kiln too, where the lab's users may execute it wherever the repository is.
: > kiln; mount --bind "$KILN" kiln
ip link set lo up
ip addr add 10.9.9.9/32 dev lo
ip link add lab0 type veth peer name lab1; ip link set lab1 up
ip addr add 10.9.0.1/24 dev lab0
ip link set lab0 up
ip route add default via 10.9.0.254 dev lab0
[ -e resolv.conf ] || printf 'nameserver 127.0.0.1\nsearch lab\n' > resolv.conf
mount --bind resolv.conf /etc/resolv.conf
if [ "$(id -u)" = 0 ] && [ "$(wc -l < /proc/self/uid_map)" = 1 ] && grep -q 4294967295 /proc/self/uid_map; then
  for file in passwd subuid subgid; do cat /etc/$file > lab-$file; chmod 644 lab-$file; done
  printf 'lab-single:x:4242:4242::/:/bin/sh\nlab-range:x:4243:4243::/:/bin/sh\n' >> lab-passwd
  for file in subuid subgid; do echo lab-range:400000:65536 >> lab-$file; done
  for file in passwd subuid subgid; do mount --bind lab-$file /etc/$file; done
  mkdir -p dev; mount -t tmpfs -o mode=755 lab dev
  mknod dev/tun c 10 200; chmod "${TUN:-666}" dev/tun; mount --bind dev/tun /dev/net/tun
  chmod 777 .
fi
rm -f ready heard
mkdir -p outside host
echo reached outside > outside/page
echo reached the host > host/page
python3 - <<'PY' &
import http.server, socket, socketserver, threading, functools
secret = socket.socket(socket.AF_UNIX); secret.bind(b"\0kiln-test-abstract"); secret.listen()
socketserver.ThreadingTCPServer.allow_reuse_address = True
for address, port, folder in (("10.9.9.9", 8000, "outside"), ("10.9.0.1", 8000, "outside"), ("10.9.9.9", 443, "outside"), ("127.0.0.1", 8001, "host")):
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    handler.log_message = lambda *_: None
    server = socketserver.ThreadingTCPServer((address, port), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
heard = open("heard", "w", buffering=1)
def listen(kind, family, address):
    server = socket.socket(family, kind); server.bind((address, 9000))
    if kind == socket.SOCK_STREAM: server.listen()
    def hear():
        while True:
            if kind == socket.SOCK_STREAM: server.accept()
            else: server.recvfrom(99)
            heard.write("heard at %s\n" % address)
    threading.Thread(target=hear, daemon=True).start()
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
    listen(kind, socket.AF_INET, "127.0.0.1"); listen(kind, socket.AF_INET6, "::1"); listen(kind, socket.AF_INET, "10.9.9.9")
def answer(asked):
    question = asked[12:asked.index(b"\0", 12) + 5]
    known = question.startswith((b"\x06server\x03lab\0\0\x01", b"\x0aregistry-1\x06docker\x02io\0\0\x01"))
    head = asked[:2] + (b"\x81\x80\0\1\0\1\0\0\0\0" if known else b"\x81\x80\0\1\0\0\0\0\0\0")
    return head + question + (b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + bytes([10, 9, 9, 9]) if known else b"")
def datagrams(server):
    while True:
        asked, who = server.recvfrom(512)
        server.sendto(answer(asked), who)
class Stream(socketserver.StreamRequestHandler):
    def handle(self):
        asked = self.rfile.read(int.from_bytes(self.rfile.read(2), "big"))
        self.wfile.write(len(answer(asked)).to_bytes(2, "big") + answer(asked))
class Six(socketserver.ThreadingTCPServer): address_family = socket.AF_INET6
for address in ("127.0.0.1", "127.0.0.53", "10.9.9.9", "10.9.0.1", "::1"):
    server = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM); server.bind((address, 53))
    threading.Thread(target=datagrams, args=(server,), daemon=True).start()
    server = (Six if ":" in address else socketserver.ThreadingTCPServer)((address, 53), Stream)
    threading.Thread(target=server.serve_forever, daemon=True).start()
open("ready", "w").close()
threading.Event().wait()
PY
until [ -e ready ]; do sleep 0.05; done
