import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { passesLuhn } from '../../../protocol/detect/digits.ts';
import { detect } from '../../../protocol/detect/index.ts';
import { type SeededRandom, seededRandom, suiteSeed } from '../../fuzz/random.ts';

const SEED = suiteSeed(1312);
const root = join(import.meta.dirname, '..', '..', '..');

/** Findings in a thousand texts of a kind. */
function ratePerThousand(make: (random: SeededRandom) => string): number {
  const random = seededRandom(SEED);
  let found = 0;
  for (let i = 0; i < 5000; i++) if (detect(make(random)).length > 0) found++;
  return found / 5;
}
const hex = (random: SeededRandom, length: number): string =>
  Buffer.from(random.bytes(Math.ceil(length / 2)))
    .toString('hex')
    .slice(0, length);
const digits = (random: SeededRandom, length: number): string =>
  Array.from({ length }, () => random.below(10)).join('');
const uuid = (random: SeededRandom): string => hex(random, 32).replace(/^(.{8})(.{4})(.{4})(.{4})/, '$1-$2-$3-$4-');
const time = (random: SeededRandom): string => new Date(1.6e12 + random.fraction() * 4e11).toISOString();

test.each<[string, number, (random: SeededRandom) => string]>([
  ['UUIDs', 0, (random) => `id ${uuid(random)} of ${uuid(random)}`],
  ['SHA-256 and SHA-1', 0, (random) => `${hex(random, 64)}  file\n${hex(random, 40)}`],
  ['ISO dates', 0, (random) => `from ${time(random)} to ${time(random).slice(0, 10)}`],
  ['milliseconds and microseconds of Unix time', 0, (random) => `${Date.parse(time(random))} 1${digits(random, 15)}`],
  ['order numbers of 6 to 12 digits', 0, (random) => `order ${digits(random, 6 + random.below(7))} shipped`],
  ['IP addresses and ports', 0, (random) => `${[...random.bytes(4)].join('.')}:${random.below(65536)}`],
  ['prices and decimals', 0, (random) => `${random.below(1e6)}.${digits(random, 2)} EUR, ${random.fraction()}`],
  // Four groups of four in a row are how a card is printed.
  ['numbers of tables', 1, (random) => Array.from({ length: 8 }, () => digits(random, 1 + random.below(4))).join(' ')],
  // By chance a prefix as hf_ with as many letters as its tokens have.
  ['base64', 1, (random) => Buffer.from(random.bytes(600)).toString('base64')],
  ['base64url', 1, (random) => Buffer.from(random.bytes(600)).toString('base64url')],
  // One in ten passes Luhn by chance, and a third of all first digits are an issuer's: 16 digits are a card to anyone.
  ['numbers of 16 digits', 60, (random) => `order ${digits(random, 16)} shipped`],
])('%s: at most %d findings in a thousand', (name, most, make) => {
  const rate = ratePerThousand(make);
  expect(rate, `${name}, seed ${SEED}`).toBeLessThanOrEqual(most);
});

test.each([
  ['Latin', 'Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut labore.'],
  ['German', 'Der Nutzer öffnet die Datei, liest alle Anweisungen und führt das Programm danach ohne Fehler aus.'],
  ['French', "L'utilisateur ouvre le fichier, lit toutes les consignes et lance ensuite le programme sans erreur."],
  ['Polish', 'Użytkownik otwiera plik, czyta wszystkie instrukcje, a następnie uruchamia program bez błędów.'],
  ['Russian', 'Пользователь открывает файл, читает все инструкции и затем запускает программу без ошибок.'],
  ['Greek', 'Ο χρήστης ανοίγει το αρχείο, διαβάζει όλες τις οδηγίες και μετά εκτελεί το πρόγραμμα.'],
  ['Turkish', 'Kullanıcı dosyayı açar, bütün talimatları okur ve ardından programı hatasız çalıştırır.'],
  ['Arabic', 'يفتح المستخدم الملف ويقرأ جميع التعليمات ثم يشغل البرنامج بدون أخطاء.'],
  ['Hebrew', 'המשתמש פותח את הקובץ, קורא את כל ההוראות ואז מריץ את התוכנית ללא שגיאות.'],
  ['Hindi', 'उपयोगकर्ता फ़ाइल खोलता है, सभी निर्देश पढ़ता है और फिर प्रोग्राम चलाता है।'],
  ['Thai', 'ผู้ใช้เปิดไฟล์ อ่านคำแนะนำทั้งหมด แล้วเรียกใช้โปรแกรมโดยไม่มีข้อผิดพลาด'],
  ['Chinese', '用户打开文件，阅读所有说明，然后运行程序，没有出现错误。'],
  ['Japanese', 'ユーザーはファイルを開き、すべての説明を読み、プログラムを実行します。'],
  ['Korean', '사용자는 파일을 열고 모든 지침을 읽은 다음 오류 없이 프로그램을 실행합니다.'],
])('plain %s holds nothing', (_, text) => {
  expect(detect(text)).toEqual([]);
});

test('source code holds addresses of examples, and nothing else', () => {
  const folders = ['protocol', 'daemon', 'sdk', 'cli'];
  const files = folders
    .flatMap((folder) =>
      readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).map((path) => join(root, folder, path)),
    )
    .filter((path) => path.endsWith('.ts') && !path.includes('/detect/'));
  let bytes = 0;
  const found: string[] = [];
  for (const path of files) {
    const source = readFileSync(path, 'utf8');
    bytes += source.length;
    for (const { label, start, end } of detect(source))
      if (!/@(?:example|company)\.com$/.test(source.slice(start, end)))
        found.push(`${path}: ${label}: ${source.slice(start, end)}`);
  }
  expect(bytes).toBeGreaterThan(500_000);
  expect(found).toEqual([]);
});

test('passesLuhn() takes one digit in ten, and only it', () => {
  const random = seededRandom(SEED);
  for (let i = 0; i < 500; i++) {
    const body = digits(random, 8 + random.below(10));
    expect(Array.from({ length: 10 }, (_, last) => passesLuhn(`${body}${last}`)).filter(Boolean)).toHaveLength(1);
  }
});
