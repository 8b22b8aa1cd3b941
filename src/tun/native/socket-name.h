#ifndef MPTUNNEL_SOCKET_NAME_H
#define MPTUNNEL_SOCKET_NAME_H

#include <netinet/in.h>
#include <stdbool.h>
#include <sys/socket.h>

// What to bind to; "" is any address, "fe80::1%eth0" names its link. False: not an address of that family (4 or 6).
bool socket_name(int family, const char *address, uint16_t port, struct sockaddr_in6 *out, socklen_t *bytes);

#endif
