/**
 * Noise hands each of its messages to the transport in two pieces, length and ciphertext, and TCP writes and sends each
 * piece by itself: two system calls and two segments for a small frame, where one does. Here they are joined, which costs
 * one copy.
 */
import type { ConnectionEncrypter, MessageStream } from '@libp2p/interface';

/** The same encrypter, whose every `send` is one write. */
export const joinWrites = (inner: ConnectionEncrypter): ConnectionEncrypter => ({
  protocol: inner.protocol,
  secureOutbound: (stream, options) => inner.secureOutbound(joined(stream), options),
  secureInbound: (stream, options) => inner.secureInbound(joined(stream), options),
});

/** `send` is shadowed on this one object, which belongs to the connection that is made of it. */
function joined<S extends MessageStream>(stream: S): S {
  const send = stream.send.bind(stream);
  stream.send = (data) => send(data.subarray());
  return stream;
}
