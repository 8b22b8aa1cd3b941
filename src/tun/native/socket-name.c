#include "socket-name.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <string.h>

enum { ADDRESS_TEXT_BYTES = 80 };

bool socket_name(int family, const char *address, uint16_t port, struct sockaddr_in6 *out, socklen_t *bytes) {
  memset(out, 0, sizeof *out);
  if (family == 4) {
    struct sockaddr_in *v4 = (struct sockaddr_in *)out;
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    *bytes = sizeof *v4;
    return address[0] == 0 || inet_pton(AF_INET, address, &v4->sin_addr) == 1;
  }
  char text[ADDRESS_TEXT_BYTES] = {0};
  strncpy(text, address, sizeof text - 1);
  char *zone = strchr(text, '%');
  if (zone != NULL) {
    *zone = 0;
    out->sin6_scope_id = if_nametoindex(zone + 1);
  }
  out->sin6_family = AF_INET6;
  out->sin6_port = htons(port);
  *bytes = sizeof *out;
  return text[0] == 0 || inet_pton(AF_INET6, text, &out->sin6_addr) == 1;
}
