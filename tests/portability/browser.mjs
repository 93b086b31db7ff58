// Headless Chromium for the checks of this folder: serves a folder on localhost, opens pages of it, runs functions in
// them, takes screenshots. Needs chromium and the npm package playwright-core, which is looked for below the working
// directory or below $PLAYWRIGHT (a folder with node_modules). Chromium's own SwiftShader is the graphics adapter, so
// that no GPU is needed; $CHROMIUM names another browser.
import fs from 'node:fs';
import http from 'node:http';
import path from 'node:path';
import { createRequire } from 'node:module';

const FLAGS = [
  '--headless=new',
  '--enable-unsafe-webgpu',
  '--use-webgpu-adapter=swiftshader',
  '--enable-features=Vulkan',
];
const TYPES = {
  '.html': 'text/html',
  '.js': 'text/javascript',
  '.css': 'text/css',
  '.json': 'application/json',
  '.png': 'image/png',
};
const SIZES = [
  { width: 1280, height: 900 },
  { width: 390, height: 844 },
];

function playwright() {
  const from = createRequire(path.join(process.env.PLAYWRIGHT ?? process.cwd(), 'here.js'));
  try {
    return from('playwright-core').chromium;
  } catch (e) {
    throw new Error(
      `${e.message.split('\n')[0]}: run \`npm install playwright-core\` in a folder and name it by PLAYWRIGHT`,
    );
  }
}

// Serves a folder on a free port of localhost.
function serve(folder) {
  const root = path.resolve(folder);
  const server = http.createServer((request, response) => {
    const name = decodeURIComponent(new URL(request.url, 'http://localhost').pathname);
    const file = path.join(root, name === '/' ? 'index.html' : name);
    fs.readFile(file.startsWith(root + path.sep) ? file : '', (error, bytes) => {
      response.writeHead(error ? 404 : 200, {
        'content-type': TYPES[path.extname(file)] ?? 'application/octet-stream',
      });
      response.end(bytes);
    });
  });
  return new Promise((resolve) => {
    server.listen(0, '127.0.0.1', () => resolve(server));
  });
}

// Opens a browser on `folder`. `flags` are added to those that choose SwiftShader, `only` replaces them.
export async function open(folder, { flags = [], only } = {}) {
  const server = await serve(folder);
  const address = `http://127.0.0.1:${server.address().port}/`;
  const root = process.getuid?.() === 0 ? ['--no-sandbox'] : [];
  const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
  const browser = await playwright().launch({ executablePath, args: [...root, ...(only ?? FLAGS), ...flags] });

  // A page of the folder, or of another address, and the list of what it complained about.
  async function visit(name = '', options = {}) {
    const page = await browser.newPage({ viewport: SIZES[0], ...options });
    page.setDefaultTimeout(0);
    const complaints = [];
    page.on('console', (m) => {
      if (['error', 'warning'].includes(m.type())) complaints.push(m.text());
    });
    page.on('pageerror', (e) => complaints.push(e.message));
    await page.goto(/^\w+:/.test(name) ? name : address + name);
    return { page, complaints };
  }

  // The page as it is, at the widths of a desktop and a phone, light and dark: FOLDER/NAME-WIDTH-SCHEME.png.
  async function shoot(page, into, name) {
    fs.mkdirSync(into, { recursive: true });
    const made = [];
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme });
      for (const size of SIZES) {
        await page.setViewportSize(size);
        const file = path.join(into, `${name}-${size.width}-${colorScheme}.png`);
        await page.screenshot({ path: file, fullPage: true });
        const wide = await page.evaluate(
          () => document.documentElement.scrollWidth - document.documentElement.clientWidth,
        );
        if (wide > 0) throw new Error(`${name} at ${size.width} px is ${wide} px wider than the window`);
        made.push(file);
      }
    }
    return made;
  }

  // What becomes of a page that is opened as a file: it works where its files are inlined, and else says to serve them.
  // `global` names what it offers to harnesses.
  async function asFile(name, global) {
    const { page } = await visit(`file://${path.resolve(folder)}/${name}`);
    const [said, inlined] = await page.evaluate(async (g) => {
      const says = () => document.getElementById('trouble').textContent;
      return [await globalThis[g].ready.then(() => 'works', says), 'plan.json' in (globalThis.AMCL_INLINE ?? {})];
    }, global);
    await page.close();
    if (inlined ? said !== 'works' : !said.includes('http.server')) throw new Error(`${name} as a file: ${said}`);
    return said;
  }

  async function close() {
    await browser.close();
    server.close();
  }

  return { address, visit, shoot, asFile, close, version: browser.version() };
}

// browser.mjs FOLDER PAGE EXPRESSION [SHOTS]: prints what the expression (awaited) gives in the page, as JSON.
if (process.argv[1] === new URL(import.meta.url).pathname) {
  const [folder, name, expression, shots] = process.argv.slice(2);
  if (!expression) throw new Error('browser.mjs FOLDER PAGE EXPRESSION [FOLDER OF SCREENSHOTS]');
  const browser = await open(folder);
  try {
    const { page, complaints } = await browser.visit(name);
    console.log(JSON.stringify(await page.evaluate(expression), null, 1));
    if (shots)
      for (const file of await browser.shoot(page, shots, path.parse(name || 'index').name)) console.error(file);
    for (const c of complaints) console.error(`the page: ${c}`);
  } finally {
    await browser.close();
  }
}
