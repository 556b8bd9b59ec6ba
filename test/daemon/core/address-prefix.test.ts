import { expect, test } from 'vitest';
import { prefixOf } from '../../../daemon/core/address-prefix.ts';

test.each([
  ['/ip4/192.0.2.17/tcp/4001/p2p/12D3KooW', 'ip4/192.0.2'],
  ['/ip4/192.0.2.200/tcp/1', 'ip4/192.0.2'],
  ['/ip6/2001:db8:1:2::3/tcp/4001', 'ip6/2001:db8:1'],
  ['/ip6/2001:DB8:0001:ffff:1:2:3:4/tcp/4001', 'ip6/2001:db8:1'],
  ['/ip6/2001:db8::1/tcp/4001', 'ip6/2001:db8:0'],
  ['/ip6/::1/tcp/4001', 'ip6/0:0:0'],
  ['/ip6/fe80::1%eth0/tcp/4001', 'ip6/fe80:0:0'],
  ['/ip6/::/tcp/4001', 'ip6/0:0:0'],
  ['/dns4/node.example/tcp/4001', 'dns4/node.example'],
  ['/memory/abc', 'memory/abc'],
  ['', 'undefined/'],
])('%s is in %s', (address, prefix) => {
  expect(prefixOf(address)).toBe(prefix);
});
