using System.CommandLine;
using System.Globalization;
using Subquartic.Reports;

namespace Subquartic.Cli.Verbs;

/// <summary><c>limits scaling</c>: how the time of attention grows with the image.</summary>
internal sealed class LimitsScalingVerb : LimitsSubcommand
{
    private const int Width = 8;
    private const double HalfRange = 0.5, Tolerance = 1e-3;

    private readonly Option<int> _maxSide = new Option<int>("--max-n")
    {
        Description = "Largest side of the last token map. Time and memory of 256 are 5 seconds and 20 MB, and 16 and 4 times as much at 512.",
        HelpName = "side",
        DefaultValueFactory = _ => 256,
    }.Require(value => value is >= 2 * ScalingReport.FirstSide and <= 1024, $"a whole number, {2 * ScalingReport.FirstSide} to 1024");

    public LimitsScalingVerb()
        : base(
            "scaling", $"Times exact and low-rank attention of the last scale for n = {ScalingReport.FirstSide}, doubling, and fits the exponents.",
            "limits scaling",
            "limits scaling --max-n 128 --picture scaling.svg --json")
    {
        Add(_maxSide);
        AddOutput(withKernels: true);
    }

    protected override Task<int> RunAsync(ParseResult options, Terminal terminal, CancellationToken cancellation) => MeasureAsync(
        options, terminal,
        kernels => ScalingReport.Measure(kernels, options.GetValue(_maxSide), Width, HalfRange, Tolerance, cancellation: cancellation),
        Documents.Default.ScalingReport, report => report.Picture(), Show);

    private static void Show(ScalingReport report, Terminal terminal)
    {
        Table(
            terminal, ["n", "queries", "keys", "exact", "low-rank", "speed-up", "certified error", "difference"],
            report.Points.Select(p => (IEnumerable<object>)[
                p.Side, p.Queries, p.Keys, Units.Time(TimeSpan.FromSeconds(p.ExactSeconds)), Units.Time(TimeSpan.FromSeconds(p.LowRankSeconds)),
                p.Speedup, p.ErrorBound, p.Difference]));
        terminal.Say(string.Create(
            CultureInfo.InvariantCulture,
            $"Time grows as n^{report.Exponent.Exact:0.00} for exact and n^{report.Exponent.LowRank:0.00} for low-rank attention ({report.Kernels}, {report.Threads} threads)."));
        terminal.Say(string.Create(
            CultureInfo.InvariantCulture,
            $"One head of width {report.Width}, |score| up to {report.HalfRange}, tolerance {report.Tolerance} of the range of V, which is 2."));
    }
}
