/**
 * Yamux lets the other side send more by frames of its own, and libp2p's sends one for each frame that it hands out,
 * however small: a stream of short messages has then as many frames again, each a write here and a wake-up there. Here
 * they wait until half of the smallest window is used, as the protocol's first implementation has it (hashicorp/yamux,
 * stream.go, sendWindowUpdate); the other side can always send the other half.
 */
import type { Stream } from '@libp2p/interface';

const GATHERED_BYTES = 128 * 1024; // half of the window with which every Yamux stream begins

/** Where the stream is Yamux's. Call before anybody else listens to it, while it is paused. */
export function gatherWindowUpdates(stream: Stream & { sendWindowUpdate?: () => void }): void {
  const update = stream.sendWindowUpdate?.bind(stream);
  if (update === undefined) return;
  let bytes = 0; // handed out since the last update
  stream.addEventListener('message', ({ data }) => void (bytes += data.byteLength));
  stream.sendWindowUpdate = () => {
    if (bytes < GATHERED_BYTES || stream.readStatus === 'paused') return; // Yamux itself sends none while it is paused
    bytes = 0;
    update();
  };
}
