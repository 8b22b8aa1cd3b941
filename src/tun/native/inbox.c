// What a socket has received: messages of recvmmsg, each of one datagram or, with GRO, of several of one size.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"
#include "udp.h"

#ifndef UDP_GRO
#define UDP_GRO 104
#endif

Inbox *inbox_create(void) {
  Inbox *inbox = calloc(1, sizeof *inbox);
  if (inbox == NULL) abort();
  inbox->bytes = malloc((size_t)INBOX_MESSAGES * INBOX_SLOT_BYTES);
  if (inbox->bytes == NULL) abort();
  for (size_t i = 0; i < INBOX_MESSAGES; i++) {
    inbox->pieces[i] = (struct iovec){inbox->bytes + i * INBOX_SLOT_BYTES, INBOX_SLOT_BYTES};
  }
  return inbox;
}

void inbox_free(Inbox *inbox) {
  if (inbox == NULL) return;
  free(inbox->bytes);
  free(inbox);
}

int inbox_wanted(const Inbox *inbox) { return inbox->fullMessages ? INBOX_FULL_MESSAGES : INBOX_MESSAGES; }

static bool full_messages(const Inbox *inbox, int count) {
  size_t bytes = 0;
  for (int i = 0; i < count; i++) bytes += inbox->messages[i].msg_len;
  return bytes > (size_t)count * INBOX_FULL_BYTES;
}

int inbox_fill(const Udp *udp, Inbox *inbox) {
  if (udp->memory != NULL) return memory_fill(udp, inbox);
  for (size_t i = 0; i < INBOX_MESSAGES; i++) {
    struct msghdr *header = &inbox->messages[i].msg_hdr;
    *header = (struct msghdr){&inbox->names[i], sizeof inbox->names[i], &inbox->pieces[i], 1, &inbox->controls[i], sizeof inbox->controls[i], 0};
  }
  int count;
  do count = recvmmsg(udp->channel.fd, inbox->messages, (unsigned)inbox_wanted(inbox), MSG_DONTWAIT, NULL);
  while (count < 0 && errno == EINTR);
  inbox->next = inbox->offset = 0;
  inbox->count = count < 0 ? 0 : (size_t)count;
  if (count < 0) return -errno;
  inbox->fullMessages = full_messages(inbox, count);
  return count;
}

static void record_v6(uint8_t *record, const struct in6_addr *address) {
  if (IN6_IS_ADDR_V4MAPPED(address)) memcpy(record, address->s6_addr + 12, 4);
  else memcpy(record, address->s6_addr, 16);
}

static void record_interface(uint8_t *record, uint32_t index) {
  for (int i = 0; i < 4; i++) record[36 + i] = (uint8_t)(index >> (8 * i));
}

static void record_source(uint8_t *record, const struct sockaddr_in6 *name) {
  const struct sockaddr_in *v4 = (const struct sockaddr_in *)name;
  bool plain = name->sin6_family == AF_INET;
  record[0] = plain || IN6_IS_ADDR_V4MAPPED(&name->sin6_addr) ? 4 : 6;
  memcpy(record + 2, &name->sin6_port, 2);
  if (plain) memcpy(record + 4, &v4->sin_addr, 4);
  else record_v6(record + 4, &name->sin6_addr);
}

// The local address; and the size of the datagrams (UDP_GRO), 0 when the message is a single one.
static size_t read_control(struct msghdr *message, uint8_t *record) {
  size_t segmentBytes = 0;
  for (struct cmsghdr *control = CMSG_FIRSTHDR(message); control != NULL; control = CMSG_NXTHDR(message, control)) {
    if (control->cmsg_level == IPPROTO_UDP && control->cmsg_type == UDP_GRO) {
      int value;
      memcpy(&value, CMSG_DATA(control), sizeof value);
      segmentBytes = value > 0 ? (size_t)value : 0;
    } else if (control->cmsg_level == IPPROTO_IP && control->cmsg_type == IP_PKTINFO) {
      struct in_pktinfo value;
      memcpy(&value, CMSG_DATA(control), sizeof value);
      memcpy(record + 20, &value.ipi_spec_dst, 4);
      record_interface(record, (uint32_t)value.ipi_ifindex);
    } else if (control->cmsg_level == IPPROTO_IPV6 && control->cmsg_type == IPV6_PKTINFO) {
      struct in6_pktinfo value;
      memcpy(&value, CMSG_DATA(control), sizeof value);
      record_v6(record + 20, &value.ipi6_addr);
      record_interface(record, value.ipi6_ifindex);
    }
  }
  return segmentBytes;
}

size_t inbox_describe(Inbox *inbox, uint8_t *record) {
  struct mmsghdr *message = &inbox->messages[inbox->next];
  record_source(record, &inbox->names[inbox->next]);
  size_t segmentBytes = read_control(&message->msg_hdr, record);
  return segmentBytes == 0 ? message->msg_len : segmentBytes;
}
