using System.CommandLine;
using System.Globalization;
using Subquartic.Reports;

namespace Subquartic.Cli.Verbs;

/// <summary><c>limits tensor</c>: attention of order 3 and 4.</summary>
internal sealed class LimitsTensorVerb : LimitsSubcommand
{
    private readonly Option<int> _tokens = new Option<int>("--tokens")
    {
        Description = "Largest number of tokens of order 3, and four times that of order 4. 2048 takes about a minute; time grows as the cube.",
        HelpName = "number",
        DefaultValueFactory = _ => 512,
    }.Require(value => value is >= 2 * TensorReport.FirstTokens and <= 2048, $"a whole number, {2 * TensorReport.FirstTokens} to 2048");

    public LimitsTensorVerb()
        : base(
            "tensor", "Tensor attention of order 3 and 4: growth of exact and fast, errors, thresholds, and tasks that ordinary attention fails.",
            "limits tensor",
            "limits tensor --tokens 256 --picture tensor.svg --json")
    {
        Add(_tokens);
        AddOutput(withKernels: true);
    }

    protected override Task<int> RunAsync(ParseResult options, Terminal terminal, CancellationToken cancellation) => MeasureAsync(
        options, terminal,
        kernels => TensorReport.Measure(kernels, options.GetValue(_tokens), cancellation: cancellation),
        Documents.Default.TensorReport, report => report.Picture(), Show);

    private static void Show(TensorReport report, Terminal terminal)
    {
        Table(
            terminal, ["order", "tokens", "multiply-adds, exact", "fast", "exact", "fast", "speed-up", "certified error", "difference"],
            report.Points.Select(p => (IEnumerable<object>)[
                p.Order, p.Tokens, p.ExactWork, p.FastWork, Units.Time(TimeSpan.FromSeconds(p.ExactSeconds)), Units.Time(TimeSpan.FromSeconds(p.FastSeconds)),
                p.Speedup, p.ErrorBound, p.Difference]));
        foreach (TensorExponents e in report.Exponents)
        {
            TensorScalingPoint largest = report.Points.Last(p => p.Order == e.Order);
            string crossing = report.FasterFrom(e.Order) is { } from
                ? $"The fast algorithm is the faster one from {from} tokens on, {Number(largest.Speedup)} times at {largest.Tokens}."
                : "The fast algorithm is not the faster one at the largest size.";
            terminal.Say(string.Create(
                CultureInfo.InvariantCulture,
                $"Order {e.Order}: multiply-adds grow as n^{e.ExactWork:0.00} exact, n^{e.FastWork:0.00} fast; time over the three largest sizes as n^{e.ExactTime:0.00} and n^{e.FastTime:0.00} ({report.Kernels}, {report.Threads} threads). {crossing}"));
        }

        terminal.Say(string.Create(
            CultureInfo.InvariantCulture, $"Width {report.Width}, |score| up to {report.HalfRange}, tolerance {report.Tolerance} of the range, which is 2."));
        Table(
            terminal, ["|score| up to", "degree", "certified bound", "largest error", "gradient: error over bound"],
            report.Errors.Select(row => (IEnumerable<object>)[row.HalfRange, row.Degree, row.Bound, row.Measured, row.GradientMeasured]));
        Table(
            terminal, ["order", "(ln n)^(1/order)", "largest entry with at most n features", "score", "degree", "features"],
            report.Thresholds.Select(t => (IEnumerable<object>)[t.Order, t.Threshold, t.Entry, t.HalfRange, t.Degree, t.Features]));
        terminal.Say($"n = {report.Thresholds[0].Tokens}, width {report.Width}, accuracy 1e-3 of the weights. Degree that entries demand:");
        Table(
            terminal, ["largest entry", "order 2", "order 3", "order 4"],
            report.Degrees.Select(row => (IEnumerable<object>)[row.Entry, .. row.Degrees.Select(g => (object)(g?.ToString(CultureInfo.InvariantCulture) ?? "none"))]));
        Table(
            terminal, ["order", "tokens", "R/(log2 n)^(1/order)", "rank at 1/n, measured", "closed form"],
            report.Ranks.Select(row => (IEnumerable<object>)[row.Order, row.Tokens, row.C, row.Measured, row.Predicted]));
        Table(
            terminal, ["task", "tokens", "largest score", "tensor, exact", "ordinary, trained", "its width", "guess", "refused"],
            report.Tasks.Select(t => (IEnumerable<object>)[
                t.Task, t.Tokens, t.LargestScore, Units.Percent(t.Exact), Units.Percent(t.Ordinary), t.OrdinaryWidth, Units.Percent(t.Guess), $"{t.Refused} of {t.Instances}"]));
        terminal.Say($"The fast algorithm on them: {report.Tasks[0].Reason}.");
        terminal.Say("Match-3 with its scores divided:");
        Table(
            terminal, ["scores times", "largest score", "right, exact", "right, fast", "approximated"],
            report.TradeOff.Select(t => (IEnumerable<object>)[t.Strength, t.LargestScore, Units.Percent(t.Exact), Units.Percent(t.Fast), $"{t.Approximated} of {report.Tasks[0].Instances}"]));
    }
}
