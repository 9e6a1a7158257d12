using System.CommandLine;
using System.Globalization;
using Subquartic.Reports;

namespace Subquartic.Cli.Verbs;

/// <summary><c>limits rope</c>: rotary attention, rotated first and in its general form.</summary>
internal sealed class LimitsRopeVerb : LimitsSubcommand
{
    private readonly Option<int> _maxSide = new Option<int>("--max-n")
    {
        Description = "Largest side of the last token map; the general form goes up to 16 times as many tokens.",
        HelpName = "side",
        DefaultValueFactory = _ => 128,
    }.Require(value => value is >= 2 * RopeReport.FirstSide and <= 512, $"a whole number, {2 * RopeReport.FirstSide} to 512");

    public LimitsRopeVerb()
        : base(
            "rope", "Rotary attention: that rotating first is the same, exact against low-rank, the general form by Fourier transforms, refusals.",
            "limits rope",
            "limits rope --max-n 64 --picture rope.svg --json")
    {
        Add(_maxSide);
        AddOutput(withKernels: true);
    }

    protected override Task<int> RunAsync(ParseResult options, Terminal terminal, CancellationToken cancellation) => MeasureAsync(
        options, terminal,
        kernels => RopeReport.Measure(kernels, options.GetValue(_maxSide), cancellation: cancellation),
        Documents.Default.RopeReport, report => report.Picture(), Show);

    private static void Show(RopeReport report, Terminal terminal)
    {
        terminal.Say(
            $"Rotating first changes attention by {Number(report.Identity)} in double precision, scores of token maps by {Number(report.MapIdentity)} in float32.");
        Table(
            terminal, ["n", "rotation", "exact", "low-rank", "speed-up", "path", "certified error", "difference"],
            report.Scaling.Select(p => (IEnumerable<object>)[
                p.Side, Time(p.RotationSeconds), Time(p.ExactSeconds), Time(p.LowRankSeconds), p.ExactSeconds / p.LowRankSeconds, p.Path, p.ErrorBound, p.Difference]));
        terminal.Say(string.Create(
            CultureInfo.InvariantCulture, $"Rotated first, time grows as n^{report.ExactExponent:0.00} for exact and n^{report.LowRankExponent:0.00} for low-rank attention."));
        Table(
            terminal, ["tokens", "multiply-adds, all pairs", "by transforms", "all pairs", "by transforms", "certified error", "difference"],
            report.Relative.Select(p => (IEnumerable<object>)[
                p.Tokens, p.DenseWork, p.FourierWork, Time(p.DenseSeconds), Time(p.FourierSeconds), p.ErrorBound, p.Difference]));
        terminal.Say(string.Create(
            CultureInfo.InvariantCulture,
            $"General form: multiply-adds grow as N^{report.DenseExponent:0.00} and N^{report.FourierExponent:0.00}, time as N^{report.DenseTimeExponent:0.00} and N^{report.FourierTimeExponent:0.00}."));
        Table(
            terminal, ["degree", "terms", "certified bound", "largest error", "gradients, relative error", "gradients, error over bound"],
            report.Errors.Select(row => (IEnumerable<object>)[row.Degree, row.Terms, row.Bound, row.Measured, row.GradientError, row.GradientShare]));
        terminal.Say($"Share of {report.RefusalTokens} queries approximated at tolerance 1e-2, entries up to R, keys around 0 or around R:");
        Table(
            terminal, ["R/sqrt(ln N)", "R", "plain", "rotated", "plain, keys around R", "rotated, keys around R"],
            report.Refusals.Select(row => (IEnumerable<object>)[
                row.C, row.Entry, Units.Percent(row.Plain), Units.Percent(row.Rotated), Units.Percent(row.PlainOffset), Units.Percent(row.RotatedOffset)]));

        static string Time(double seconds) => Units.Time(TimeSpan.FromSeconds(seconds));
    }
}
