/** The network that a multiaddr is in, for limits that one host with many PeerIds cannot pass: /24 of IPv4, /48 of IPv6. */
export function prefixOf(address: string): string {
  const [, kind, host = ''] = address.split('/');
  if (kind === 'ip4') return `ip4/${host.split('.').slice(0, 3).join('.')}`;
  if (kind === 'ip6') return `ip6/${groupsOf(host).slice(0, 3).join(':')}`;
  return `${kind}/${host}`;
}

/** The eight groups of an IPv6 address, without leading zeros, whatever "::" stands for. */
function groupsOf(host: string): string[] {
  const [head = '', tail] = host.split('%', 1).join('').toLowerCase().split('::');
  const split = (text: string): string[] =>
    text === '' ? [] : text.split(':').map((group) => group.replace(/^0+(?=.)/, ''));
  const [before, after] = [split(head), split(tail ?? '')];
  return tail === undefined
    ? before
    : [...before, ...Array<string>(Math.max(0, 8 - before.length - after.length)).fill('0'), ...after];
}
