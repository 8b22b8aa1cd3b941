#ifndef MPTUNNEL_NOTIFY_H
#define MPTUNNEL_NOTIFY_H

#include <node_api.h>

napi_value notify_service(napi_env env, napi_callback_info info);

#endif
