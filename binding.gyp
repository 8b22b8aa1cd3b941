{
  'targets': [
    {
      'target_name': 'mptunnel',
      'sources': [
        'src/tun/native/aead.c',
        'src/tun/native/aead-ipsec-mb.c',
        'src/tun/native/aead-openssl.c',
        'src/tun/native/arguments.c',
        'src/tun/native/channel.c',
        'src/tun/native/checksum.c',
        'src/tun/native/coalesce.c',
        'src/tun/native/handle.c',
        'src/tun/native/loop.c',
        'src/tun/native/module.c',
        'src/tun/native/open.c',
        'src/tun/native/packet.c',
        'src/tun/native/receive.c',
        'src/tun/native/scheduling.c',
        'src/tun/native/seal.c',
        'src/tun/native/stage.c',
        'src/tun/native/tun.c',
        'src/tun/native/udp.c',
      ],
      'defines': ['_GNU_SOURCE', 'NAPI_VERSION=8'],
      'cflags_c': ['-std=c11', '-O3', '-Wall', '-Wextra', '-Werror', '-fvisibility=hidden'],
    },
  ],
}
