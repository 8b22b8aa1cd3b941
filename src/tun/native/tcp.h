#ifndef MPTUNNEL_TCP_H
#define MPTUNNEL_TCP_H

#include <node_api.h>

napi_value tcp_open(napi_env env, napi_callback_info info);
napi_value tcp_not_sent_lowat(napi_env env, napi_callback_info info);

#endif
