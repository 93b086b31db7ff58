// The case table in a browser: table.mjs FOLDER [--every N] [--report FILE] [--shots DIR]
// FOLDER is what `amcl-wgpu check --web FOLDER` made. Runs every N-th case (all, if not said) by the page; none may fail.
// Prints the sums, and the worst error of each op as a share of its bound. See pages.mjs for what the page must refuse.
import fs from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { open } from './browser.mjs';

const text = { type: 'string' };
const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { every: { ...text, default: '1' }, report: text, shots: text },
});
const browser = await open(path.resolve(positionals[0] ?? '.'));
try {
  const { page, complaints } = await browser.visit('check.html');
  await page.evaluate(() => amclCheck.ready);
  const report = await page.evaluate((every) => amclCheck.run({ every }), Number(values.every));
  if (values.report) fs.writeFileSync(values.report, `${JSON.stringify(report, null, 1)}\n`);
  if (values.shots) await browser.shoot(page, values.shots, 'table');
  for (const f of report.failures) console.error(`${f.title}: ${f.fault}`);
  for (const c of complaints) console.error(`the page: ${c}`);
  const ops = report.ops.filter((o) => o.passed + o.failed);
  console.log(
    `${report.passed} passed, ${report.failed} failed, ${report.left_out} left out in ${report.seconds} s ` +
      `(Chromium ${browser.version}); worst share of the bound by op (cases): ` +
      ops.map((o) => `${o.op} ${o.worst.toFixed(3)} (${o.passed + o.failed})`).join(', '),
  );
  if (report.failures.length || complaints.length || !report.passed) process.exitCode = 1;
} finally {
  await browser.close();
}
