// Opens the dashboard in a headless Chromium, and tells on standard output what a person would see there.
//
//   node dashboard.mjs CHROMIUM URL [FOLDER]
//
// A line `primary ADDRESS` once the page shows a primary, a line `elected ADDRESS` once it shows another one and the election among its
// events, without a reload; at the end a line of JSON: what the console complained of, and what was asked for. With a folder, pictures
// of the page are left there. Speaks the DevTools protocol over the browser's own pipe, so that nothing has to be installed.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const [chromium, url, pictures] = process.argv.slice(2);
const profile = mkdtempSync(join(tmpdir(), "tidegate-browser-"));
const flags = ["--headless=new", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
  "--disable-background-networking", "--disable-component-update", "--disable-sync", "--mute-audio", `--user-data-dir=${profile}`];
const browser = spawn(chromium, [...flags, "about:blank"], { stdio: ["ignore", "ignore", "ignore", "pipe", "pipe"] });
const [to, from] = [browser.stdio[3], browser.stdio[4]];
browser.on("error", (error) => end(1, `${chromium}: ${error.message}`));
setTimeout(() => end(1, "the page did not show all within its time"), 60_000).unref();

const waiting = new Map(), errors = [], requests = [];
let next = 0, session, text = "";
from.setEncoding("utf8");
from.on("data", (data) => {
  const messages = (text + data).split("\0");
  text = messages.pop();
  messages.forEach((message) => take(JSON.parse(message)));
});
function take({ id, result, error, method, params }) {
  if (id) {
    const { resolve, reject } = waiting.get(id);
    return error ? reject(new Error(error.message)) : resolve(result);
  }
  if (method === "Network.requestWillBeSent") requests.push(params.request.url);
  if (method === "Runtime.exceptionThrown") errors.push(params.exceptionDetails.exception?.description ?? params.exceptionDetails.text);
  if (method === "Runtime.consoleAPICalled" && ["error", "warning", "assert"].includes(params.type)) errors.push(JSON.stringify(params.args));
  if (method === "Log.entryAdded" && params.entry.level === "error") errors.push(`${params.entry.text} ${params.entry.url ?? ""}`);
}
function send(method, params = {}) {
  const id = ++next;
  to.write(JSON.stringify({ id, method, params, sessionId: session }) + "\0");
  return new Promise((resolve, reject) => waiting.set(id, { resolve, reject }));
}
async function page(expression) {
  const { result, exceptionDetails } = await send("Runtime.evaluate", { expression, returnByValue: true });
  if (exceptionDetails) throw new Error(exceptionDetails.text);
  return result.value;
}
async function until(expression) {
  for (;;) {
    const value = await page(expression);
    if (value) return value;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
async function picture(name, width, height, scheme) {
  await send("Emulation.setDeviceMetricsOverride", { width, height, deviceScaleFactor: 1, mobile: width < 500 });
  await send("Emulation.setEmulatedMedia", { features: [{ name: "prefers-color-scheme", value: scheme }] });
  await new Promise((resolve) => setTimeout(resolve, 400));
  for (const [kind, whole] of [["", false], ["-whole", true]]) {
    const tall = whole ? await page("document.documentElement.scrollHeight") : height;
    const clip = { x: 0, y: 0, width, height: tall, scale: 1 };
    const { data } = await send("Page.captureScreenshot", { captureBeyondViewport: whole, clip });
    writeFileSync(join(pictures, `${name}-${scheme}${kind}.png`), Buffer.from(data, "base64"));
  }
}
function end(code, why) {
  if (why) console.error(why);
  // Its other processes end soon after it, and write until then.
  browser.once("exit", () => setTimeout(() => {
    rmSync(profile, { recursive: true, force: true, maxRetries: 10, retryDelay: 100 });
    process.exit(code);
  }, 300));
  if (!browser.kill("SIGKILL")) process.exit(code);
}

const PRIMARY = `(() => {
  const shown = document.getElementById("primary")?.textContent ?? "", row = document.querySelector("#nodes .pill.good");
  return shown.includes(":") && row?.closest("tr").cells[0].textContent === shown && shown;
})()`;
try {
  const { targetId } = await send("Target.createTarget", { url: "about:blank" });
  session = (await send("Target.attachToTarget", { targetId, flatten: true })).sessionId;
  for (const domain of ["Page", "Runtime", "Log", "Network"]) await send(`${domain}.enable`);
  await send("Page.navigate", { url });
  const first = await until(PRIMARY);
  await page("window.wasHere = true");
  console.log(`primary ${first}`);
  if (!pictures || process.env.ELECTION !== "no") {
    const second = await until(`(${PRIMARY}) !== ${JSON.stringify(first)} && (${PRIMARY})`);
    await until(`[...document.querySelectorAll("#events li")].some((li) => li.textContent.includes("election") && li.textContent.includes(${JSON.stringify(`${second} is the primary`)}))`);
    if (!(await page("window.wasHere === true"))) throw new Error("the page was loaded again");
    console.log(`elected ${second}`);
  }
  if (pictures) {
    await new Promise((resolve) => setTimeout(resolve, Number(process.env.SETTLE ?? 0)));
    for (const scheme of ["light", "dark"]) {
      await picture("phone", 390, 844, scheme);
      await picture("desktop", 1440, 900, scheme);
    }
  }
  const widest = await page("document.documentElement.scrollWidth - document.documentElement.clientWidth");
  console.log(JSON.stringify({ errors, requests, overflow: widest, link: await page(`document.getElementById("link").textContent`) }));
  end(0);
} catch (error) {
  end(1, error.message);
}
