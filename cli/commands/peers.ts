import type { Command } from 'commander';
import { withHelp } from '../help.ts';
import type { Act } from '../program.ts';
import { UsageError } from '../problem.ts';
import { formatPeer, formatPeers } from '../views/peers.ts';

export function addPeers(program: Command, act: Act): void {
  const peers = withHelp(program.command('peers'), {
    summary: 'Connected peers',
    about:
      'Real connections, as they are: whose daemon it is (its DID, proved by both sides), PeerId, address, latency, last heartbeat, ' +
      'agents that are known, protocols.',
    examples: [
      ['peers', 'who is connected'],
      ['peers add /ip4/192.0.2.7/tcp/4801/p2p/12D3KooW…', 'connect to one more and remember it'],
    ],
  }).action(
    act(async (invocation) => {
      const mesh = await invocation.mesh();
      const answer = await mesh.call('peerList');
      invocation.answer(answer, (view) => formatPeers(answer.peers, view));
      if (answer.peers.length === 0)
        invocation.suggest('connect to a daemon that you know', 'peers', 'add', 'MULTIADDR');
    }),
  );

  withHelp(peers.command('add'), {
    summary: 'Connect to a daemon and remember it',
    about: 'The address ends in the PeerId that is expected there; another one is refused.',
    examples: [['peers add /dns4/mesh.example.org/tcp/4801/p2p/12D3KooW…', 'by name']],
  })
    .argument('<multiaddr>', 'address like /ip4/192.0.2.7/tcp/4801/p2p/12D3KooW…')
    .action(
      act(async (invocation, address: string) => {
        if (!/^\/[\x21-\x7e]+$/.test(address)) {
          throw new UsageError(
            `Cannot dial "${address}": want a multiaddr like "/ip4/192.0.2.7/tcp/4801/p2p/12D3KooW…"`,
          );
        }
        const mesh = await invocation.mesh();
        const answer = await mesh.call('peerDial', { body: { address } });
        invocation.answer(answer, (view) => formatPeer(answer.peer, view));
      }),
    );
}
