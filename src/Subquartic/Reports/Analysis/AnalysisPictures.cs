using System.Globalization;
using System.Xml.Linq;
using Subquartic.Criteria;
using static Subquartic.Reports.Analysis.Page;

namespace Subquartic.Reports.Analysis;

/// <summary>The pictures of <see cref="AnalysisPage"/>.</summary>
internal static class AnalysisPictures
{
    private const double Width = 480;

    /// <summary>One map of layers by heads for each scale.</summary>
    /// <param name="analysis">The analysis.</param>
    /// <param name="value">The value of a head, 0 to 1; not a number leaves a gap.</param>
    /// <param name="ramp">"d" where 1/2 is the limit, "s" otherwise.</param>
    public static IEnumerable<XElement> Maps(ModelAnalysis analysis, Func<HeadAnalysis, double> value, string ramp) =>
        analysis.Heads.GroupBy(head => head.Scale).Select(scale => Map(
            analysis.Model, ScaleName(scale.First()), scale.Select(head => (head.Head, head.Layer, value(head))), ramp));

    /// <summary>A map of layers by heads.</summary>
    /// <param name="model">Its sizes.</param>
    /// <param name="label">Stands below it.</param>
    /// <param name="cells">Column, row and value, 0 to 1; not a number leaves a gap.</param>
    /// <param name="ramp">"d" where 1/2 is the limit, "s" otherwise.</param>
    public static XElement Map(AnalyzedModel model, string label, IEnumerable<(int Head, int Layer, double Value)> cells, string ramp)
    {
        const double cell = 10;
        return Html(
            "figure", "map", Picture(
                model.Heads * cell, model.Depth * cell, label,
                cells.GroupBy(head => Step(head.Value)).Where(group => group.Key >= 0).Select(group => Squares(
                    group.Select(head => (head.Head, head.Layer)), cell, string.Create(CultureInfo.InvariantCulture, $"{ramp}{group.Key}")))),
            Html("figcaption", null, label));

        static int Step(double share) => double.IsNaN(share) ? -1 : Math.Clamp((int)(share * PageStyle.RampSteps), 0, PageStyle.RampSteps - 1);
    }

    /// <summary>The plane of n and B, the paper's line in it, the side where one polynomial is cheaper, and the heads of the last scale.</summary>
    public static XElement Phases(ModelAnalysis analysis)
    {
        const double height = 400, left = 46, right = 12, top = 14, bottom = 40;
        HeadAnalysis[] last = Last(analysis);
        double[] marks = [.. last.SelectMany(head => new[] { head.LeastScore, head.CertifiedHalfRange }).Where(b => b > 0 && double.IsFinite(b))];
        double low = Math.Floor(Math.Min(-2, Math.Log2(marks.DefaultIfEmpty(1).Min()))), high = Math.Ceiling(Math.Max(4, Math.Log2(marks.DefaultIfEmpty(1).Max())));
        double firstSide = 2, lastSide = Math.Ceiling(Math.Max(8, Math.Log2(analysis.Sizes[^1].Side) + 0.5));
        double X(double side) => left + ((Math.Log2(side) - firstSide) / (lastSide - firstSide) * (Width - left - right));
        double Y(double b) => top + ((high - Math.Clamp(Math.Log2(b), low, high)) / (high - low) * (height - top - bottom));
        double floor = height - bottom;

        var content = new List<object>();
        (double Side, double B)[] frontier = [.. Frontier(analysis, Math.Pow(2, lastSide))];
        if (frontier.Length > 0)
        {
            (double, double)[] stairs = [.. frontier.Select(p => (X(Math.Max(p.Side, Math.Pow(2, firstSide))), Y(p.B)))];
            content.Add(Curve([(stairs[0].Item1, floor), .. stairs, (Width - right, floor)], "wash"));
            content.Add(Curve(stairs, "free"));
            content.Add(Text(Width - right - 4, floor - 8, $"one polynomial is cheaper, d = {analysis.Model.HeadWidth}", "free e"));
        }

        for (double b = low; b <= high; b += high - low > 8 ? 2 : 1)
        {
            content.Add(Line(left, Y(Math.Pow(2, b)), Width - right, Y(Math.Pow(2, b)), "axis"));
            content.Add(Text(left - 6, Y(Math.Pow(2, b)) + 4, Number(Math.Pow(2, b)), "e soft"));
        }

        for (double n = firstSide; n <= lastSide; n++)
        {
            content.Add(Text(X(Math.Pow(2, n)), floor + 17, Number(Math.Pow(2, n)), "m soft"));
        }

        content.Add(Curve(Enumerable.Range(0, 61).Select(i => Math.Pow(2, firstSide + (i / 60.0 * (lastSide - firstSide)))).Select(n => (X(n), Y(Math.Log(n)))), "limit"));
        content.Add(Text(Width - right - 4, Y(Math.Log(Math.Pow(2, lastSide))) - 7, "B = log n", "limit e"));
        content.Add(Text(Width - right, height - 6, "side n of the last token map", "e soft"));
        content.Add(Text(left, height - 6, "↑ score bound B", "soft"));
        double centre = Math.Log2(analysis.Model.Side);
        for (int i = 0; i < last.Length; i++)
        {
            // Heads stand side by side around their n, in the order of the layers.
            double x = X(Math.Pow(2, centre + (0.8 * (((i + 0.5) / last.Length) - 0.5))));
            string kind = Kind(last[i].Finite.Verdict);
            content.Add(Line(x, Y(last[i].LeastScore), x, Y(last[i].CertifiedHalfRange), $"thin s{kind}"));
            content.Add(Svg(
                "circle", $"dot f{kind}", At("cx", x), At("cy", Y(last[i].LeastScore)), At("r", last.Length > 48 ? 2.4 : 3.6),
                Svg("title", null, $"layer {last[i].Layer + 1}, head {last[i].Head + 1}: B {Number(last[i].LeastScore)}, provable {Number(last[i].CertifiedHalfRange)}")));
        }

        return Picture(Width, height, "Phase diagram", content);
    }

    /// <summary>B of every head of the last scale, step by step: as it is, keys moved, queries moved, and what can be proved of that.</summary>
    public static XElement Steps(ModelAnalysis analysis)
    {
        const double height = 320, left = 46, right = 14, top = 14, bottom = 44;
        HeadAnalysis[] last = Last(analysis);
        string[] names = ["as it is", "keys moved", "queries too", "provable"];
        double[][] values = [.. last.Select(h => new[] { h.Score, h.KeyCentredScore, h.CentredScore, h.CertifiedHalfRange })];
        double[] all = [.. values.SelectMany(v => v).Where(v => v > 0 && double.IsFinite(v)).Append(analysis.Model.ScoreLimit).Where(v => v > 0)];
        double low = Math.Floor(Math.Log2(all.Min())), high = Math.Max(low + 1, Math.Ceiling(Math.Log2(all.Max())));
        double X(int step) => left + 34 + (step / 3.0 * (Width - left - right - 68));
        double Y(double b) => top + ((high - Math.Clamp(Math.Log2(b), low, high)) / (high - low) * (height - top - bottom));
        var content = new List<object>();
        for (double b = low; b <= high; b++)
        {
            content.Add(Line(left, Y(Math.Pow(2, b)), Width - right, Y(Math.Pow(2, b)), "axis"));
            content.Add(Text(left - 6, Y(Math.Pow(2, b)) + 4, Number(Math.Pow(2, b)), "e soft"));
        }

        content.AddRange(names.Select((name, i) => Text(X(i), height - bottom + 20, name, "m soft")));
        content.Add(Line(left, Y(analysis.Model.ScoreLimit), Width - right, Y(analysis.Model.ScoreLimit), "limit"));
        content.Add(Text(Width - right, Y(analysis.Model.ScoreLimit) - 5, "log n", "limit e"));
        content.AddRange(last.Select((head, i) => Curve(values[i].Select((v, step) => (X(step), Y(v))), $"thin s{Kind(head.ScoreVerdict)}")));
        double[] medians = [.. Enumerable.Range(0, 4).Select(step => Median(values.Select(v => v[step])))];
        content.Add(Curve(medians.Select((v, step) => (X(step), Y(v))), "free"));
        content.AddRange(medians.Select((v, step) => Text(X(step), Y(v) - 7, Number(v), "free m")));
        return Picture(Width, height, "Score bound before and after the moves", content);
    }

    /// <summary>A histogram on a logarithmic scale with a limit on both sides.</summary>
    public static XElement Bars(BinCounts bins, double limit, string label, string limitName)
    {
        const double width = 300, height = 110, floor = 88, top = 16;
        double reach = bins.BinWidth * bins.Counts.Count / 2, span = Math.Max(reach, limit * 1.4);
        double tallest = Math.Log10(1.0 + bins.Counts.Max());
        double X(double value) => (value + span) / (2 * span) * width;
        double Y(long count) => floor - (Math.Log10(1.0 + count) / tallest * (floor - top));
        var outline = new List<(double, double)> { (X(-reach), floor) };
        for (int i = 0; i < bins.Counts.Count; i++)
        {
            outline.Add((X((i * bins.BinWidth) - reach), Y(bins.Counts[i])));
            outline.Add((X(((i + 1) * bins.BinWidth) - reach), Y(bins.Counts[i])));
        }

        outline.Add((X(reach), floor));
        return Picture(
            width, height, label, Curve(outline, "bars"), Line(0, floor, width, floor, "axis"),
            Line(X(-limit), top - 4, X(-limit), floor, "limit"), Line(X(limit), top - 4, X(limit), floor, "limit"),
            Text(X(limit) + 4, 11, limitName, "limit"), Text(X(-limit) - 4, 11, "−" + limitName, "e limit"),
            Text(X(0), height - 6, "0", "m soft"), Text(width, height - 6, Number(span), "e soft"), Text(0, height - 6, "−" + Number(span), "soft"));
    }

    /// <summary>Shares of the heads by verdict, one bar for each n.</summary>
    public static XElement Verdicts(ModelAnalysis analysis, Func<SizeAnalysis, VerdictCounts> counts, string label)
    {
        const double wide = 330, left = 62, bar = 20, gap = 8;
        var content = new List<object>();
        double y = 2;
        foreach (SizeAnalysis size in analysis.Sizes)
        {
            VerdictCounts count = counts(size);
            double x = left, all = count.Holds + count.Unknown + count.Fails;
            content.Add(Text(left - 8, y + 15, $"n = {Number(size.Side)}", size.Extrapolated ? "e soft" : "e"));
            foreach ((int number, string style) in new[] { (count.Holds, "fh"), (count.Unknown, "fu"), (count.Fails, "ff") })
            {
                double width = number / all * (wide - left);
                if (number > 0)
                {
                    content.Add(Svg("rect", style, At("x", x), At("y", y), At("width", width), At("height", bar), At("rx", 3), Svg("title", null, $"{number} heads")));
                    content.Add(width > 26 ? Text(x + 6, y + 15, string.Create(CultureInfo.InvariantCulture, $"{number}"), "on") : null!);
                }

                x += width;
            }

            y += bar + gap;
        }

        return Picture(wide, y, label, content.Where(item => item is not null));
    }

    /// <summary>What to call a scale.</summary>
    private static string ScaleName(HeadAnalysis first) => string.Create(
        CultureInfo.InvariantCulture,
        $"scale {first.Scale + 1}: {first.Queries} {(first.Queries == 1 ? "query" : "queries")}, {first.Keys} {(first.Keys == 1 ? "key" : "keys")}");

    /// <summary>Heads of the last scale.</summary>
    public static HeadAnalysis[] Last(ModelAnalysis analysis) => [.. analysis.Heads.TakeLast(analysis.Model.Depth * analysis.Model.Heads)];

    /// <summary>Middle of the values.</summary>
    public static double Median(IEnumerable<double> values)
    {
        double[] sorted = [.. values.Order()];
        return sorted.Length % 2 == 1 ? sorted[sorted.Length / 2] : (sorted[(sorted.Length / 2) - 1] + sorted[sorted.Length / 2]) / 2;
    }

    /// <summary>First letter of a verdict.</summary>
    public static string Kind(Verdict verdict) => verdict switch { Verdict.Holds => "h", Verdict.Fails => "f", _ => "u" };

    /// <summary>Degree by degree, the n where its polynomial begins to be cheaper and the largest B it serves: stairs. By the estimate of the
    /// error, which is near but not certified.</summary>
    private static IEnumerable<(double Side, double B)> Frontier(ModelAnalysis analysis, double lastSide)
    {
        int width = analysis.Model.HeadWidth;
        HeadAnalysis head = Last(analysis)[0];
        double tolerance = Math.Tanh(2 * Math.Atanh(analysis.Run.Tolerance)), before = 0;
        for (int degree = 1; degree <= ExpPolynomial.MaxDegree; degree++)
        {
            var criterion = new FiniteCriterion(0, width, width, degree, null, null, MonomialBasis.CountOf(width, degree));
            double side = criterion.BreakEvenSide((double)head.Keys / head.Queries)!.Value, least = 0, most = degree + 1.5;
            for (int i = 0; i < 50; i++)
            {
                double middle = (least + most) / 2;
                (least, most) = ExpPolynomial.EstimateError(middle, degree) <= tolerance ? (middle, most) : (least, middle);
            }

            if (side > lastSide || least > ExpPolynomial.MaxHalfRange)
            {
                break;
            }

            yield return (side, Math.Max(before, 1e-9));
            yield return (side, least);
            before = least;
        }

        if (before > 0)
        {
            yield return (lastSide, before);
        }
    }
}
