#define _GNU_SOURCE
#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netpacket/packet.h>
#include <linux/if_ether.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
typedef unsigned char byte;
static unsigned fold(const byte *p, int n, unsigned s) {
    for (int i = 0; i < n; i++) s += i % 2 ? p[i] : p[i] << 8;
    while (s >> 16) s = (s & 0xffff) + (s >> 16);
    return s;
}
static byte own4[4], own6[16], mac[6], gate[6] = {255, 255, 255, 255, 255, 255};
static int device;
static int frame(byte *f, const char *to, int tcp) {
    int six = strchr(to, ':') != 0, head = six ? 40 : 20, size = tcp ? 20 : 12, address = six ? 16 : 4;
    byte *ip = f + 14, *data = ip + head, *from = ip + (six ? 8 : 12), *where = from + address;
    static int port = 20000;
    memset(f, 0, 128); memcpy(f, gate, 6); memcpy(f + 6, mac, 6);
    f[12] = six ? 0x86 : 8; f[13] = six ? 0xdd : 0;
    if (six) { ip[0] = 0x60; ip[5] = size; ip[6] = tcp ? 6 : 17; ip[7] = 64; }
    else { ip[0] = 0x45; ip[3] = head + size; ip[8] = 64; ip[9] = tcp ? 6 : 17; }
    memcpy(from, six ? own6 : own4, address); inet_pton(six ? AF_INET6 : AF_INET, to, where);
    if (!six) { unsigned s = ~fold(ip, 20, 0); ip[10] = s >> 8; ip[11] = s; }
    port++; data[0] = port >> 8; data[1] = port; data[2] = 9000 >> 8; data[3] = 9000 & 255;
    if (tcp) { data[7] = 1; data[12] = 0x50; data[13] = 2; data[14] = 0x40; } else { data[5] = size; memcpy(data + 8, "here", 4); }
    unsigned s = ~fold(data, size, fold(from, 2 * address, (tcp ? 6 : 17) + size));
    data[tcp ? 16 : 6] = s >> 8; data[tcp ? 17 : 7] = s;
    return 14 + head + size;
}
int main(void) {
    struct ifreq r = {0}; struct if_nameindex *all = if_nameindex();
    for (; all->if_index; all++) if (strcmp(all->if_name, "lo")) strcpy(r.ifr_name, all->if_name);
    device = if_nametoindex(r.ifr_name);
    int udp = socket(AF_INET, SOCK_DGRAM, 0);
    ioctl(udp, SIOCGIFHWADDR, &r); memcpy(mac, r.ifr_hwaddr.sa_data, 6);
    ioctl(udp, SIOCGIFADDR, &r); memcpy(own4, &((struct sockaddr_in *)&r.ifr_addr)->sin_addr, 4);
    inet_pton(AF_INET6, "fd00::99", own6);
    struct sockaddr_in far = {.sin_family = AF_INET, .sin_port = htons(9), .sin_addr = {inet_addr("198.51.100.1")}};
    sendto(udp, "x", 1, 0, (void *)&far, sizeof far); usleep(300000);
    FILE *arp = fopen("/proc/net/arp", "r"); char line[256], m[64];
    while (arp && fgets(line, sizeof line, arp)) if (sscanf(line, "%*s %*s %*s %63s", m) == 1 && strchr(m, ':'))
        sscanf(m, "%hhx:%hhx:%hhx:%hhx:%hhx:%hhx", gate, gate + 1, gate + 2, gate + 3, gate + 4, gate + 5);
    int packet = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)), past = socket(AF_PACKET, SOCK_RAW, htons(ETH_P_ALL)), one = 1;
    if (packet < 0) perror("no packet socket");
    else if (!setsockopt(past, SOL_PACKET, 20 /* PACKET_QDISC_BYPASS */, &one, sizeof one)) puts("past queues");
    int raw = socket(AF_INET, SOCK_RAW, IPPROTO_RAW);
    if (raw < 0) perror("no raw socket");
    setsockopt(raw, SOL_SOCKET, SO_BINDTODEVICE, r.ifr_name, strlen(r.ifr_name));
    struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = device, .sll_halen = 6}; memcpy(to.sll_addr, gate, 6);
    const char *places[] = {"10.9.9.9", "127.0.0.1", "127.9.9.9", "0.0.0.0", "::1", "::", "::ffff:127.0.0.1", "::127.0.0.1"};
    for (int round = 0; round < 2; round++, sleep(1))
        for (unsigned i = 0; i < sizeof places / sizeof *places; i++)
            for (int tcp = 0; tcp < 2; tcp++) {
                byte f[128]; int n = frame(f, places[i], tcp); long sent = sendto(packet, f, n, 0, (void *)&to, sizeof to);
                if (sent == n && !round && !tcp) printf("sent to %s\n", places[i]);
                n = frame(f, places[i], tcp); sendto(past, f, n, 0, (void *)&to, sizeof to);
                if (!strchr(places[i], ':')) {
                    struct sockaddr_in ip = {.sin_family = AF_INET}; inet_pton(AF_INET, places[i], &ip.sin_addr);
                    n = frame(f, places[i], tcp); sendto(raw, f + 14, n - 14, 0, (void *)&ip, sizeof ip);
                }
            }
    puts("all sent");
}
