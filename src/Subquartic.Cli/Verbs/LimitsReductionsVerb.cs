using System.CommandLine;
using Subquartic.Attention;
using Subquartic.Reports;

namespace Subquartic.Cli.Verbs;

/// <summary><c>limits reductions</c>: what centring, rotating, projecting and setting aside gain.</summary>
internal sealed class LimitsReductionsVerb : LimitsSubcommand
{
    private readonly Option<int> _tokens = new Option<int>("--tokens")
    {
        Description = "Number of queries and of keys.",
        HelpName = "number",
        DefaultValueFactory = _ => 4096,
    }.Require(value => value is >= 256 and <= 65536, "a whole number, 256 to 65536");

    private readonly Option<double> _tolerance = ToleranceOption("an output, as a fraction of the range of the values", 1e-3);

    public LimitsReductionsVerb()
        : base(
            "reductions", "Shows what each reduction of low-rank attention gains on a head that has what it reduces: score range, features, predicted time.",
            "limits reductions",
            "limits reductions --tokens 16384 --tolerance 1e-2 --picture reductions.svg")
    {
        Add(_tokens);
        Add(_tolerance);
        AddOutput(withKernels: true);
    }

    protected override Task<int> RunAsync(ParseResult options, Terminal terminal, CancellationToken cancellation) => MeasureAsync(
        options, terminal,
        kernels => ReductionReport.Measure(kernels, options.GetValue(_tokens), options.GetValue(_tolerance), cancellation),
        Documents.Default.ReductionReport, report => report.Picture(), Show);

    private static void Show(ReductionReport report, Terminal terminal)
    {
        Table(
            terminal, ["reduction", "head", "B", "coordinates", "features", "outliers", "exact rows", "time, of exact", "certified error", "error"],
            report.Rows.Select(row => (IEnumerable<object>)[
                row.Reduction, row.Head, Both(row, d => d.HalfRange), Both(row, d => d.Width), Both(row, d => d.Features), Both(row, d => d.OutlierKeys),
                Both(row, d => d.ExactRows), Both(row, d => d.Cost), row.ErrorBound, row.Error]));
        terminal.Say($"{report.Tokens} queries and keys, tolerance {Number(report.Tolerance)}; each pair of numbers is without -> with the reduction, all others in use. Times are predicted; 1 means computed exactly.");
    }

    private static string Both(ReductionRow row, Func<LowRankDiagnosis, double> number) => $"{Number(number(row.Without))} -> {Number(number(row.With))}";
}
