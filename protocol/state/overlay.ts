import type { Statement } from '../statement/statement.ts';
import type { MeshView } from './view.ts';

/** The view with further links: private ones that were presented, which never enter the set. What the view holds wins. */
export function overlayView(view: MeshView, links: readonly Statement<'delegation/v1'>[]): MeshView {
  const added = new Map(links.map((link) => [link.id, link]));
  return {
    get revision() {
      return view.revision;
    },
    didState: (did) => view.didState(did),
    link: (id) => view.link(id) ?? added.get(id),
    revocationsOf: (target, issuers) => view.revocationsOf(target, issuers),
    heartbeatsOf: (organisation, nowMs) => view.heartbeatsOf(organisation, nowMs),
    holdsOperation: (did, seq, id) => view.holdsOperation(did, seq, id),
    holdsRevocations: (organisation, seq, head) => view.holdsRevocations(organisation, seq, head),
  };
}
