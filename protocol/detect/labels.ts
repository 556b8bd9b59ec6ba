/** What the detectors can say of data (SPEC "Labels and output rules"). */
import type { OutputRules } from '../policy/decision.ts';

/** Which of the output rules is about it. */
export type LabelClass = Exclude<keyof OutputRules, 'bytesMax'>;

interface LabelRow {
  readonly class: LabelClass;
  readonly summary: string;
}

/** The closed list. */
export const LABELS = {
  'secret.private_key': { class: 'secrets', summary: 'PEM block of a private key, or an age secret key' },
  'secret.aws_key': { class: 'secrets', summary: 'AWS access key id; secret access key beside one or by its name' },
  'secret.github_token': { class: 'secrets', summary: 'ghp_, gho_, ghu_, ghs_, ghr_, github_pat_' },
  'secret.gitlab_token': { class: 'secrets', summary: 'glpat- and its siblings' },
  'secret.slack': { class: 'secrets', summary: 'xox?-, xapp- tokens and webhook URLs' },
  'secret.stripe': { class: 'secrets', summary: 'sk_live_, rk_live_, sk_test_, rk_test_, whsec_' },
  'secret.openai': { class: 'secrets', summary: 'sk-, sk-proj-, sk-svcacct-' },
  'secret.anthropic': { class: 'secrets', summary: 'sk-ant-' },
  'secret.google_key': { class: 'secrets', summary: 'AIza, GOCSPX-, ya29.' },
  'secret.token': {
    class: 'secrets',
    summary: 'npm, PyPI, SendGrid, Hugging Face, DigitalOcean, Shopify and more, by prefix',
  },
  'secret.jwt': { class: 'secrets', summary: 'JOSE compact form whose header is JSON with "alg"' },
  'secret.url_password': { class: 'secrets', summary: 'user and password in a URL' },
  'secret.generic': {
    class: 'secrets',
    summary: 'assignment to a name as password or api_key, of a value with entropy',
  },
  card: { class: 'cards', summary: 'payment card number: issuer range, length and Luhn digit' },
  'pii.email': { class: 'pii', summary: 'e-mail address' },
  'pii.phone': { class: 'pii', summary: 'E.164 with +, North American forms, others after a word as "Tel"' },
  'pii.ssn': { class: 'pii', summary: 'US social security number that can be issued; undivided only near its name' },
  'pii.iban': { class: 'pii', summary: "IBAN of its country's length with mod 97" },
  'phi.mrn': { class: 'phi', summary: 'number after a word as "MRN" or "patient ID"' },
  'phi.npi': { class: 'phi', summary: 'US provider number: Luhn over 80840, after its name' },
  'phi.icd10': { class: 'phi', summary: 'ICD-10 code after a word as "diagnosis"' },
  'phi.health_plan': { class: 'phi', summary: 'number after a word as "Medicare" or "health plan"' },
  'hidden.instruction': {
    class: 'instructions',
    summary: 'known phrases that give orders to a model, in 16 languages',
  },
  'hidden.role': {
    class: 'instructions',
    summary: 'markers with which prompts are built, as <|im_start|> or </tool_result>',
  },
  'hidden.invisible': { class: 'invisible', summary: 'characters that nobody sees, where no script needs them' },
  'hidden.tags': { class: 'invisible', summary: 'tag characters and variation selectors that spell a text' },
  'hidden.bidi': {
    class: 'invisible',
    summary: 'overrides of the direction of writing, and embeddings that do not end',
  },
  'hidden.control': { class: 'invisible', summary: 'control characters, as terminal escapes other than colours' },
} as const satisfies Readonly<Record<string, LabelRow>>;

export type Label = keyof typeof LABELS;

export const isLabel = (text: string): text is Label => Object.hasOwn(LABELS, text);
export const classOf = (label: Label): LabelClass => LABELS[label].class;

/** Of what a value holds; for policies (`data.*`). */
export interface DataLabels {
  /** Sorted, each once. */
  readonly labels: Label[];
  readonly contains_pii: boolean;
  readonly contains_phi: boolean;
  readonly contains_card: boolean;
  readonly contains_secret: boolean;
}

export function dataLabels(found: Iterable<Label>): DataLabels {
  const labels = [...new Set(found)].sort();
  const classes = new Set(labels.map(classOf));
  return {
    labels,
    contains_pii: classes.has('pii'),
    contains_phi: classes.has('phi'),
    contains_card: classes.has('cards'),
    contains_secret: classes.has('secrets'),
  };
}
