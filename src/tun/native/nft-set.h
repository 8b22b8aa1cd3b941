#ifndef MPTUNNEL_NFT_SET_H
#define MPTUNNEL_NFT_SET_H

#include <node_api.h>

napi_value nft_open(napi_env env, napi_callback_info info);
napi_value nft_has_element(napi_env env, napi_callback_info info);
napi_value nft_close(napi_env env, napi_callback_info info);

#endif
