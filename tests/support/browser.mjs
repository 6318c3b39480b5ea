// Opens pages in headless Chromium at several widths, in the light and in the dark, and prints what
// a reader would see as JSON. Arguments: a folder for the browser, then the files of the pages.

import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

const [folder, ...files] = process.argv.slice(2);
await mkdir(folder, { recursive: true });
process.env.TMPDIR = folder;
// Makes the package unpack the libraries that a desktop would have.
process.env.AWS_EXECUTION_ENV = "AWS_Lambda_nodejs20.x";
const fonts = join(folder, "fonts.conf");
process.env.FONTCONFIG_FILE = fonts;
await writeFile(fonts, `<?xml version="1.0"?><!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>${folder}/fonts</dir><cachedir>${folder}/cache</cachedir></fontconfig>`);

// Imported late, because the packages read the variables when they are loaded.
const { default: chromium } = await import("@sparticuz/chromium");
const { default: puppeteer } = await import("puppeteer-core");
chromium.setGraphicsMode = false;

const WIDTHS = [390, 800, 1400];
const SCHEMES = ["light", "dark"];

function observe() {
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((each) => each / 255)
      .map((each) => (each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const parse = (colour) => colour.match(/[\d.]+/g).map(Number);
  const background = (element) => {
    for (let each = element; each; each = each.parentElement) {
      const [r, g, b, alpha = 1] = parse(getComputedStyle(each).backgroundColor);
      if (alpha > 0) return [r, g, b];
    }
    return [255, 255, 255];
  };
  const contrast = (element) => {
    const style = getComputedStyle(element);
    const isSvg = element instanceof SVGElement;
    const [light, dark] = [parse(isSvg ? style.fill : style.color).slice(0, 3), background(element)]
      .map(luminance).sort((a, b) => b - a);
    return (light + 0.05) / (dark + 0.05);
  };
  const isShown = (element) => element.getClientRects().length > 0;
  const box = (element) => element.getBoundingClientRect();
  const overlap = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
  const texts = [...document.body.querySelectorAll("*")].filter((element) =>
    isShown(element) && !["TITLE", "DESC"].includes(element.tagName.toUpperCase())
    && [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim()));
  const charts = [...document.querySelectorAll("section svg[role=img]")];
  return {
    pageWidth: document.documentElement.scrollWidth,
    windowWidth: document.documentElement.clientWidth,
    paper: luminance(background(document.body)),
    texts: texts.map((element) => ({
      text: element.textContent.trim().slice(0, 40),
      contrast: contrast(element),
      size: parseFloat(getComputedStyle(element).fontSize),
    })),
    charts: charts.map((chart) => {
      const section = box(chart.closest("section"));
      const labels = [...chart.querySelectorAll("text")].filter(isShown);
      const parts = [chart, ...labels, ...chart.querySelectorAll("rect, path, line")];
      return {
        name: document.getElementById(chart.getAttribute("aria-labelledby").split(" ")[0]).textContent,
        heading: chart.closest("section").querySelector("h2").textContent,
        described: document.getElementById(chart.getAttribute("aria-labelledby").split(" ")[1]).textContent,
        width: box(chart).width,
        outside: parts.filter(isShown).map((part) => [part.outerHTML.slice(0, 80), box(part)])
          .filter(([, each]) => each.left < section.left - 1 || each.right > section.right + 1
            || each.top < section.top - 1 || each.bottom > section.bottom + 1)
          .map(([part]) => part),
        overlapping: labels.filter((label, place) => labels.slice(place + 1)
          .some((other) => overlap(box(label), box(other)))).map((label) => label.textContent),
        rows: chart.closest("section").querySelectorAll("tbody tr").length,
      };
    }),
    wide: [...document.querySelectorAll(".scroll")].filter((element) =>
      box(element).right > box(element.closest("section")).right + 1).length,
  };
}

const browser = await puppeteer.launch({
  args: puppeteer.defaultArgs({ args: chromium.args, headless: "shell" }),
  executablePath: await chromium.executablePath(),
  headless: "shell",
});
const seen = [];
try {
  for (const file of files) {
    for (const scheme of SCHEMES) {
      for (const width of WIDTHS) {
        const page = await browser.newPage();
        const url = pathToFileURL(file).href;
        const [requests, complaints] = [[], []];
        page.on("request", (request) => request.url() === url || requests.push(request.url()));
        page.on("console", (message) => complaints.push(message.text()));
        page.on("pageerror", (error) => complaints.push(String(error)));
        await page.setViewport({ width, height: 900 });
        await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
        await page.goto(url);
        const closed = await page.evaluate(observe);
        const [stops, opened] = await tabThrough(page);
        if (process.env.PICTURES) {
          await page.screenshot({ path: join(process.env.PICTURES, `${seen.length}.png`), fullPage: true });
        }
        const open = await page.evaluate(observe);
        seen.push({ file, scheme, width, requests, complaints, stops, opened, closed, open });
        await page.close();
      }
    }
  }
} finally {
  await browser.close();
}
console.log(JSON.stringify(seen));

// Opens every table by keyboard. Returns how often Tab stopped, and how many tables opened.
async function tabThrough(page) {
  let stops = 0;
  for (;;) {
    await page.keyboard.press("Tab");
    const name = await page.evaluate(() => document.activeElement.tagName);
    if (name === "BODY" || stops > 200) break;
    stops += 1;
    if (name === "SUMMARY") await page.keyboard.press("Enter");
  }
  return [stops, await page.evaluate(() => document.querySelectorAll("details[open]").length)];
}
