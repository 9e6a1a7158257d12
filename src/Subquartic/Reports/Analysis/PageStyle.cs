namespace Subquartic.Reports.Analysis;

/// <summary>The style sheet of <see cref="AnalysisPage"/>. It holds no character that XML would have to escape.</summary>
internal static class PageStyle
{
    /// <summary>Classes of the ramps: d0 to d10 from low over the limit to high, s0 to s10 from low to high.</summary>
    public const int RampSteps = 11;

    /// <summary>The sheet.</summary>
    public const string Sheet = """
        :root{color-scheme:light dark;--bg:#f6f7f9;--card:#fff;--ink:#1c2430;--soft:#5d6878;--line:#dfe3e8;--holds:#12906a;--unknown:#e0a100;--fails:#d1495b;--blue:#2c6bd6;--wash:#2c6bd61c;
        --d0:#08519c;--d1:#2474b5;--d2:#4a98c9;--d3:#82bbdb;--d4:#bcd7eb;--d5:#f0efe9;--d6:#fbd3bd;--d7:#f4a582;--d8:#e0745a;--d9:#c4413f;--d10:#8e1230}
        @media(prefers-color-scheme:dark){:root{--bg:#11151b;--card:#191f28;--ink:#e7ebf0;--soft:#98a4b3;--line:#2c3541;--holds:#35c08f;--unknown:#edb83a;--fails:#f0687a;--blue:#6ea2ff;--wash:#6ea2ff24;
        --d0:#7db8ef;--d1:#5b9bd8;--d2:#4480bb;--d3:#35669a;--d4:#2f4d6e;--d5:#39393b;--d6:#6b4338;--d7:#974f3f;--d8:#c35d4a;--d9:#e57560;--d10:#ffa28d}}
        *{box-sizing:border-box}body{margin:0;background:var(--bg);color:var(--ink);font:16px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
        main{max-width:1060px;margin:0 auto;padding:20px 14px 60px}h1{font-size:1.7rem;line-height:1.2;margin:.4em 0 .2em}h2{font-size:1.2rem;margin:0 0 .2em}
        section{background:var(--card);border:1px solid var(--line);border-radius:14px;padding:16px;margin:16px 0}p{margin:.35em 0 .8em;max-width:72ch}.soft,figcaption,small{color:var(--soft)}figcaption{font-size:.85rem;text-align:center}
        .lead{font-size:1.08rem}.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(170px,1fr));gap:12px;margin:16px 0}.tile{background:var(--card);border:1px solid var(--line);border-radius:14px;padding:12px 14px}.tile b{display:block;font-size:1.6rem;line-height:1.2}
        .grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(150px,1fr));gap:14px 12px}.wide{grid-template-columns:repeat(auto-fill,minmax(min(290px,100%),1fr))}.pairs{grid-template-columns:repeat(auto-fill,minmax(min(400px,100%),1fr))}figure{margin:0}svg{display:block;width:100%;height:auto}.big{max-width:640px;margin:0 auto}.strip{margin:12px 0}.strip img{width:100%;max-width:720px;display:block;border-radius:8px}.strip figcaption{text-align:left}
        .map{width:100%;max-width:320px;margin:0 auto}.legend{display:flex;flex-wrap:wrap;gap:4px 14px;align-items:center;font-size:.88rem;color:var(--soft);margin:.3em 0 1em}.legend i{display:inline-block;width:12px;height:12px;border-radius:3px;margin-right:5px;vertical-align:-1px}.ramp{display:inline-flex}.ramp i{margin:0;border-radius:0;width:15px}
        .tabs input{position:absolute;opacity:0}.tabs label{display:inline-block;padding:5px 12px;margin:0 6px 10px 0;border:1px solid var(--line);border-radius:99px;cursor:pointer;font-size:.92rem}.tabs input:focus-visible+label{outline:2px solid var(--blue)}.tabs input:checked+label{background:var(--blue);border-color:var(--blue);color:var(--card)}.panel{display:none}
        #m0:checked~.p0,#m1:checked~.p1,#m2:checked~.p2,#m3:checked~.p3,#m4:checked~.p4{display:block}
        .scroll{overflow-x:auto}table{border-collapse:collapse;font-size:.88rem;font-variant-numeric:tabular-nums}th,td{padding:4px 10px;text-align:right;border-bottom:1px solid var(--line);white-space:nowrap}th{color:var(--soft);font-weight:600}th:first-child,td:first-child{text-align:left}
        summary{cursor:pointer;color:var(--blue)}code{font-size:.9em}dt{font-weight:600;margin-top:.5em}dd{margin:0;color:var(--soft);max-width:80ch}.holds{color:var(--holds)}.unknown{color:var(--unknown)}.fails{color:var(--fails)}
        text{fill:var(--ink);font-size:13px}text.on{fill:#fff}text.soft{fill:var(--soft)}text.m{text-anchor:middle}text.e{text-anchor:end}text.limit{fill:var(--fails)}text.free{fill:var(--blue)}.axis{stroke:var(--line);fill:none}.limit{stroke:var(--fails);stroke-width:1.6;stroke-dasharray:5 4;fill:none}text.limit,text.free{stroke:none}.free{stroke:var(--blue);stroke-width:2;fill:none}.wash{fill:var(--wash);stroke:none}
        .fh{fill:var(--holds)}.fu{fill:var(--unknown)}.ff{fill:var(--fails)}.sh{stroke:var(--holds)}.su{stroke:var(--unknown)}.sf{stroke:var(--fails)}.dot{stroke:var(--card);stroke-width:.8}.thin{fill:none;stroke-width:1.1;opacity:.45}.bars{fill:var(--blue);opacity:.8}
        .d0{fill:var(--d0);background:var(--d0)}.d1{fill:var(--d1);background:var(--d1)}.d2{fill:var(--d2);background:var(--d2)}.d3{fill:var(--d3);background:var(--d3)}.d4{fill:var(--d4);background:var(--d4)}.d5{fill:var(--d5);background:var(--d5)}.d6{fill:var(--d6);background:var(--d6)}.d7{fill:var(--d7);background:var(--d7)}.d8{fill:var(--d8);background:var(--d8)}.d9{fill:var(--d9);background:var(--d9)}.d10{fill:var(--d10);background:var(--d10)}
        .s0{fill:#440154;background:#440154}.s1{fill:#482475;background:#482475}.s2{fill:#414487;background:#414487}.s3{fill:#355f8d;background:#355f8d}.s4{fill:#2a788e;background:#2a788e}.s5{fill:#21918c;background:#21918c}.s6{fill:#22a884;background:#22a884}.s7{fill:#44bf70;background:#44bf70}.s8{fill:#7ad151;background:#7ad151}.s9{fill:#bddf26;background:#bddf26}.s10{fill:#fde725;background:#fde725}
        """;
}
