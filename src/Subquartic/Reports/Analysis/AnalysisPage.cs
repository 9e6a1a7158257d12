using System.Globalization;
using System.Xml.Linq;
using Subquartic.Criteria;
using Subquartic.Imaging;
using static Subquartic.Reports.Analysis.Page;

namespace Subquartic.Reports.Analysis;

/// <summary>A <see cref="ModelAnalysis"/> as one HTML file: pictures first, no scripts, nothing from elsewhere, by day and by night, on a
/// screen of any width.</summary>
public static class AnalysisPage
{
    // Beyond, a table of all heads helps nobody, and JSON has it.
    private const int MostDetailedHeads = 1024;

    // Enough to see what the model draws; the page must stay small.
    private const int MostPictures = 8, PictureSide = 64;

    // Maps with more columns get twice the room.
    private const int WideHeads = 10;

    /// <summary>Writes the page.</summary>
    /// <param name="analysis">The analysis.</param>
    /// <returns>An HTML document, which is well-formed XML but for its first line.</returns>
    public static string Write(ModelAnalysis analysis)
    {
        ArgumentNullException.ThrowIfNull(analysis);
        var document = new XElement(
            "html", new XAttribute("lang", "en"),
            Html(
                "head", null, new XElement("meta", new XAttribute("charset", "utf-8")),
                new XElement("meta", new XAttribute("name", "viewport"), new XAttribute("content", "width=device-width, initial-scale=1")),
                Html("title", null, $"Attention of {analysis.Model.Name}"), Html("style", null, PageStyle.Sheet)),
            Html("body", null, Html("main", null, Parts(analysis))));
        return $"<!DOCTYPE html>\n{document.ToString(SaveOptions.DisableFormatting).Replace("<section", "\n<section", StringComparison.Ordinal)}\n";
    }

    private static IEnumerable<XElement> Parts(ModelAnalysis analysis)
    {
        yield return Html("h1", null, $"Attention of {analysis.Model.Name}");
        foreach (string line in AnalysisWords.Lead(analysis))
        {
            yield return Html("p", "lead", line);
        }

        if (analysis.Images.Count > 0)
        {
            yield return Pictures(analysis.Images[0]);
        }

        yield return Html("div", "tiles", AnalysisWords.Tiles(analysis).Select(tile => Html(
            "div", "tile", Html("b", tile.Verdict, tile.Figure), Html("small", null, tile.Words))));
        yield return Section(
            "Where the heads stand", AnalysisWords.Phases(analysis), Verdicts("one polynomial, for the model's own n"),
            Html("div", "big", AnalysisPictures.Phases(analysis)));
        yield return Section("Head by head, scale by scale", AnalysisWords.Maps, Maps(analysis));
        yield return Section(
            "What moving keys and queries gains", AnalysisWords.Steps, Verdicts("B at the last scale"), Html("div", "big", AnalysisPictures.Steps(analysis)));
        yield return Section(
            "Larger pictures", AnalysisWords.Sizes, Verdicts("heads of the last scale"),
            Html("div", "grid wide", Bars("R below sqrt(log n)", size => size.Entry), Bars("B below log n", size => size.Score), Bars("One polynomial is cheaper", size => size.Finite)),
            Table(AnalysisWords.SizeHead, AnalysisWords.SizeRows(analysis)));
        yield return Section(
            "The strategies at work", AnalysisWords.Operators(analysis), Ramp("d", "8 times less work than exact", "8 times more, and as much in the middle"),
            Html("div", Grid(analysis), AnalysisWords.ByOperator(analysis).Select(runs => AnalysisPictures.Map(
                analysis.Model, $"{runs.Key.Strategy}, n = {Number(runs.Key.Side)}", runs.Select(run => (run.Head, run.Layer, 0.5 + (Math.Log2(run.Work) / 6))), "d"))),
            Table(AnalysisWords.OperatorHead, AnalysisWords.OperatorRows(analysis)));
        yield return Section("Histograms", AnalysisWords.Histograms(analysis), Html("div", "grid pairs", analysis.Histograms.SelectMany(Histograms)));
        yield return Section("The same pictures with approximate attention", AnalysisWords.Agreement(analysis), MostApproximated(analysis) is { } images ? Pictures(images) : null, Table(AnalysisWords.AgreementHead, AnalysisWords.AgreementRows(analysis)));
        yield return Section("The decoder's attention", AnalysisWords.Decoder, Table(AnalysisWords.HeadHead, analysis.Decoder.Select(head => AnalysisWords.HeadRow(head, $"block {head.Layer + 1}"))));
        yield return Html(
            "section", null, Html("h2", null, "How this was measured, and what is assumed"), AnalysisWords.Method(analysis).Select(line => Html("p", null, line)),
            Html("dl", null, AnalysisWords.Terms.SelectMany(term => new[] { Html("dt", null, term.Name), Html("dd", null, term.Meaning) })), Details(analysis));

        XElement Bars(string title, Func<SizeAnalysis, VerdictCounts> counts) =>
            Html("figure", null, Html("figcaption", null, title), AnalysisPictures.Verdicts(analysis, counts, title));

        IEnumerable<XElement> Histograms(LayerHistogram layer)
        {
            string name = layer.Decoder ? string.Create(CultureInfo.InvariantCulture, $"decoder, block {layer.Layer - analysis.Model.Depth + 1}") : $"layer {layer.Layer + 1}";
            yield return Html("figure", null, AnalysisPictures.Bars(layer.Entries, analysis.Model.EntryLimit, $"Entries, {name}", "√log n"), Html("figcaption", null, $"{name}: entries of Q and K"));
            yield return Html("figure", null, AnalysisPictures.Bars(layer.Scores, analysis.Model.ScoreLimit, $"Scores, {name}", "log n"), Html("figcaption", null, $"{name}: scores"));
        }
    }

    /// <summary>The images of the run with the fewest exact rows, to hold against those at the top.</summary>
    private static AnalyzedImages? MostApproximated(ModelAnalysis analysis)
    {
        string strategy = analysis.Agreement.MaxBy(run => run.FastRows)!.Strategy;
        return analysis.Images.FirstOrDefault(images => images.Strategy == strategy);
    }

    /// <summary>The first images of a run, side by side.</summary>
    private static XElement Pictures(AnalyzedImages run)
    {
        RgbImage[] images =
        [
            .. run.Images.Take(MostPictures).Select(image =>
                Math.Max(image.Height, image.Width) <= PictureSide ? image : Resampling.Fill(image, PictureSide, PictureSide)),
        ];
        using var stream = new MemoryStream();
        PngWriter.Write(ContactSheet.Grid(images, images.Length), stream);
        return Html(
            "figure", "strip", new XElement(
                "img", new XAttribute("src", $"data:image/png;base64,{Convert.ToBase64String(stream.ToArray())}"),
                new XAttribute("alt", $"{images.Length} pictures drawn with {run.Strategy} attention")),
            Html("figcaption", null, $"{run.Strategy} attention"));
    }

    private static XElement Section(string title, string words, params object?[] content) =>
        Html("section", null, Html("h2", null, title), Html("p", "soft", words), content);

    private static XElement Verdicts(string what) => Html(
        "div", "legend", Html("span", null, $"Colour, {what}:"), Legend("fh", "--holds", "holds, whatever is drawn"), Legend("fu", "--unknown", "held here, unproved"),
        Legend("ff", "--fails", "fails"));

    private static XElement Legend(string style, string colour, string words) =>
        Html("span", null, new XElement("i", new XAttribute("class", style), new XAttribute("style", $"background:var({colour})"), " "), words);

    private static string Grid(ModelAnalysis analysis) => analysis.Model.Heads > WideHeads ? "grid wide" : "grid";

    private static XElement Ramp(string ramp, string low, string high) => Html(
        "div", "legend", Html("span", null, low),
        Html("span", "ramp", Enumerable.Range(0, PageStyle.RampSteps).Select(step => Html("i", $"{ramp}{step}", " "))), Html("span", null, high));

    /// <summary>One quantity at a time, chosen without a script.</summary>
    private static XElement Maps(ModelAnalysis analysis)
    {
        double limit = analysis.Model.ScoreLimit, entryLimit = analysis.Model.EntryLimit;
        (string Name, string Ramp, string Low, string High, Func<HeadAnalysis, double> Value)[] maps =
        [
            ("Scores", "d", "B = log n / 8", "8 log n, and log n in the middle", head => 0.5 + (Math.Log2(head.LeastScore / limit) / 6)),
            ("Entries", "d", "R = sqrt(log n) / 8", "8 sqrt(log n), and sqrt(log n) in the middle", head => 0.5 + (Math.Log2(head.Entry / entryLimit) / 6)),
            ("Polynomial", "d", "64 times cheaper", "64 times dearer than exact, or none", head => head.Finite.LowRank is { } low ? 0.5 + (Math.Log2(low / head.Finite.Exact) / 12) : 1),
            ("Entropy", "s", "one key has all the weight", "all keys weigh the same", head => head.Entropy),
            ("Key rank", "s", "0", "d directions in use", head => head.KeyRank / head.Width),
        ];
        return Html(
            "div", "tabs", maps.SelectMany((map, i) => new[]
            {
                new XElement(
                    "input", new XAttribute("type", "radio"), new XAttribute("name", "map"), new XAttribute("id", $"m{i}"),
                    i == 0 ? new XAttribute("checked", "checked") : null),
                new XElement("label", new XAttribute("for", $"m{i}"), map.Name),
            }),
            maps.Select((map, i) => Html(
                "div", $"panel p{i}", Ramp(map.Ramp, map.Low, map.High), Html("div", Grid(analysis), AnalysisPictures.Maps(analysis, map.Value, map.Ramp)))));
    }

    private static XElement Details(ModelAnalysis analysis)
    {
        HeadAnalysis[] last = AnalysisPictures.Last(analysis);
        return last.Length > MostDetailedHeads
            ? Html("p", "soft", "All numbers of all heads are in the JSON document.")
            : Html("details", null, Html("summary", null, "Every head of the last scale"), Table(
                AnalysisWords.HeadHead, last.Select(head => AnalysisWords.HeadRow(head, string.Create(CultureInfo.InvariantCulture, $"layer {head.Layer + 1}, head {head.Head + 1}")))));
    }
}
