// texts.mjs TEXTS REFUSED: compiles the WGSL of all variants with Tint, WebGPU's compiler in Chromium, headless.
// TEXTS is the folder that tests/translation writes. REFUSED lists the variants that Tint does not take, one key a line:
// it must refuse these still, and take all others. Modules alone are made: a pipeline takes ten times as long, and none
// has failed whose module compiled.
import fs from 'node:fs';
import { open } from './browser.mjs';

const [folder, refusedFile] = process.argv.slice(2);
const { variants } = JSON.parse(fs.readFileSync(`${folder}/variants.json`, 'utf8'));
const lines = fs.readFileSync(refusedFile, 'utf8').split('\n').map((l) => l.trim());
const known = new Set(lines.filter((l) => l && !l.startsWith('#')));

// What a browser wants otherwise than naga does.
function text(variant, features) {
  let wgsl = variant.wgsl;
  // Where the adapter has no f16, f32 stands in: all is checked but the halves.
  if (variant.half && !features.includes('shader-f16')) wgsl = wgsl.replace('enable f16;', 'alias f16 = f32;');
  // naga does not know the directive yet.
  if (variant.kind === 'subgroups') wgsl = `enable subgroups;\n${wgsl}`;
  return wgsl;
}

// In the page: the first error of each text, or null.
async function compile({ texts, features }) {
  const adapter = await navigator.gpu.requestAdapter();
  const device = await adapter.requestDevice({ requiredFeatures: features });
  const errors = [];
  for (const code of texts) {
    device.pushErrorScope('validation');
    const info = await device.createShaderModule({ code }).getCompilationInfo();
    const scope = await device.popErrorScope();
    errors.push(info.messages.find((m) => m.type === 'error')?.message ?? scope?.message ?? null);
  }
  return errors;
}

const browser = await open(folder);
// Any file of localhost will do: WebGPU is offered there.
const { page } = await browser.visit('variants.json');
const offered = await page.evaluate(async () => [...((await navigator.gpu?.requestAdapter())?.features ?? [])]);
const features = ['shader-f16', 'subgroups'].filter((f) => offered.includes(f));
const tried = variants.filter((v) => v.kind !== 'cooperative' && (v.kind !== 'subgroups' || features.includes('subgroups')));
// What Tint must refuse: brackets that WGSL asks for and naga does not, and a name that does not exist.
const head = '@group(0) @binding(0) var<storage, read_write> y: array<u32>;\n@compute @workgroup_size(1) fn main()';
const controls = [
  `${head} { if y[0] == 0u || y[1] == 1u && y[2] == 2u { y[0] = 1u; } }`,
  `${head} { y[0] = z; }`,
];
const texts = [...tried.map((v) => text(v, features)), ...controls];
const errors = await page.evaluate(compile, { texts, features });
await browser.close();

const faults = [];
const counts = {};
tried.forEach((variant, i) => {
  const count = (counts[variant.kind] ??= { compiled: 0, all: 0 });
  count.all += 1;
  count.compiled += errors[i] === null;
  if (errors[i] !== null && !known.has(variant.key)) faults.push(`${variant.key}: ${errors[i]}`);
  if (errors[i] === null && known.has(variant.key)) faults.push(`${variant.key} compiles: take it out of ${refusedFile}`);
});
controls.forEach((control, i) => {
  if (errors[tried.length + i] === null) faults.push(`control: Tint takes\n${control}`);
});
faults.forEach((fault) => console.error(fault));
const figures = Object.entries(counts).map(([kind, c]) => `${kind} ${c.compiled} of ${c.all}`);
const standIn = features.includes('shader-f16') ? '' : ' (f32 standing in for f16)';
console.log(`texts: Tint of Chromium ${browser.version}: ${figures.join(', ')}${standIn}; ${known.size} known to be refused; ` +
  `${variants.length - tried.length} not tried, by cooperative matrices or subgroups that the browser has not`);
process.exitCode = faults.length || !tried.length ? 1 : 0;
