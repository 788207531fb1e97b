import preact from "@preact/preset-vite";
import { defineConfig } from "vite";

// The build is committed and embedded in the binary, so it must be the same on every machine: no hash of a path, no date.
export default defineConfig({
  plugins: [preact()],
  base: "./",
  build: {
    target: "es2022",
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 700,
    rollupOptions: {
      output: {
        entryFileNames: "assets/[name]-[hash].js",
        chunkFileNames: "assets/[name]-[hash].js",
        assetFileNames: "assets/[name]-[hash][extname]",
      },
    },
  },
  // `npm run dev` beside a running monocle.
  server: { proxy: Object.fromEntries(["/api", "/loki", "/otlp", "/-", "/v1", "/sql"].map((path) => [path, { target: "http://127.0.0.1:3000", ws: true }])) },
});
