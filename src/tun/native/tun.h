#ifndef MPTUNNEL_TUN_H
#define MPTUNNEL_TUN_H

#include <net/if.h>

#include "channel.h"

typedef struct {
  Channel channel;
  bool offloads;
  // The kernel is older than 6.2, or refused: UDP super-packets are written segment by segment.
  bool noUdpSegments;
  char name[IFNAMSIZ];
} Tun;

napi_value tun_open(napi_env env, napi_callback_info info);
napi_value tun_name(napi_env env, napi_callback_info info);
napi_value tun_fd(napi_env env, napi_callback_info info);
napi_value tun_close(napi_env env, napi_callback_info info);
napi_value tun_read(napi_env env, napi_callback_info info);
napi_value tun_read_batch(napi_env env, napi_callback_info info);
napi_value tun_write_packet(napi_env env, napi_callback_info info);
napi_value tun_write_segments(napi_env env, napi_callback_info info);
napi_value tun_write_joined(napi_env env, napi_callback_info info);

#endif
