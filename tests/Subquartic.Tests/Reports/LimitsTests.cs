using Subquartic.Attention;
using Subquartic.Numerics.Kernels;
using Subquartic.Reports;

namespace Subquartic.Tests.Reports;

public class LimitsTests
{
    [Fact]
    public void Cost_crosses_where_the_rows_say()
    {
        CostReport report = CostReport.Create(128, 8, 0.5, 1e-3);
        Assert.Equal((3, 165), (report.Degree, report.Features));
        Assert.InRange(report.OutputError!.Value, 1e-4, 1e-3);
        CostRow crossing = report.Rows.Single(row => row.Side == report.BreakEvenSide);
        CostRow before = report.Rows.Single(row => row.Side == report.BreakEvenSide / 2);
        Assert.True(crossing.LowRank < crossing.Exact && before.LowRank >= before.Exact);
        Assert.Equal(("quartic", "fast"), (report.Rows[0].Regime, report.Rows[^1].Regime));
        Assert.Null(CostReport.Create(16, 8, 100, 1e-3).Degree);
    }

    [Fact]
    public void Measured_ranks_are_those_of_the_closed_form()
    {
        PhaseReport report = PhaseReport.Create(14, 1e-3);
        Assert.All(report.Points, p => Assert.Equal((p.PredictedFixedRank, p.PredictedInverseRank), (p.MeasuredFixedRank, p.MeasuredInverseRank)));
        Assert.Equal(report.Points.Select(p => p.InverseRank), report.Points.Select(p => p.InverseRank).Order());
    }

    [Theory]
    [InlineData(0.01, 2)]
    [InlineData(0.5, 5)]
    [InlineData(4, 15)]
    public void Errors_stay_below_their_bound_and_come_near_it(double range, int rows)
    {
        PolynomialReport report = PolynomialReport.Measure(range);
        Assert.True(report.Rows.Count >= rows);
        // 1e-14: rounding of the sums in double precision.
        Assert.All(report.Rows, row => Assert.InRange(row.Measured, row.Bound / 100, row.Bound + 1e-14));
    }

    [Fact]
    public void Only_exact_attention_finds_the_planted_pair_with_fewer_features_than_tokens()
    {
        HardReport report = HardReport.Measure(KernelSet.Best, 64);
        Assert.Equal((report.Instances, report.Instances), (report.FoundExactly, report.Refused));
        Assert.All(report.Rows.Where(row => row.Features <= report.Tokens), row => Assert.Equal(0, row.Found));
        Assert.True(report.ReferenceFeatures > report.Tokens);
    }

    [Fact]
    public void Fast_gradients_of_lora_depend_on_the_product_and_train_alike()
    {
        LoraReport report = LoraReport.Measure(KernelSet.Best, 16, 3, 1e-2);
        Assert.Equal([8, 16], report.Times.Select(time => time.Side));
        Assert.All(report.Errors, error => Assert.InRange(error.Queries, 0, error.QueryBound));
        Assert.True(report.Errors[3].Queries < report.Errors[0].Queries / 50);
        Assert.Equal(report.Phases.Select(phase => phase.Gamma), report.Phases.Select(phase => phase.Gamma).Order());
        Assert.NotNull(report.Phases[0].Degree);
        Assert.Null(report.Phases[^1].Degree);
        Assert.Equal(report.EqualChanges[0].Change, report.EqualChanges[1].Change, 1e-6);
        Assert.Null(report.EqualChanges[0].Degree);
        Assert.Equal(report.Phases[0].Degree, report.EqualChanges[1].Degree);
        foreach (IGrouping<string, LoraRun> runs in report.Runs.GroupBy(run => run.Adapted))
        {
            LoraRun exact = runs.First();
            Assert.All(runs, run => Assert.InRange(run.Losses[^1], 0, exact.Losses[0] / 50));
            Assert.All(runs.Skip(1), run => Assert.InRange(run.ExactHeads, 0, run.Losses.Count / 4)); // else they would not be fast gradients
        }
    }

    [Fact]
    public void Scaling_compares_before_it_times()
    {
        ScalingReport report = ScalingReport.Measure(KernelSet.Best, 32, 4, 0.5, 1e-3);
        Assert.Equal([16, 32], report.Points.Select(point => point.Side));
        Assert.Equal(AttentionPath.Exact, report.Points[0].Path); // so few tokens repay nothing
        Assert.NotEqual(AttentionPath.Exact, report.Points[1].Path);
        Assert.All(report.Points, point => Assert.InRange(point.Difference, 0, point.ErrorBound + 1e-5));
        Assert.True(double.IsFinite(report.Exponent.Exact) && double.IsFinite(report.Exponent.LowRank));
    }

    [Fact]
    public void Moments_take_less_memory_than_keys_and_values_and_convolutions_are_counted()
    {
        CostRow row = CostReport.Create(128, 8, 0.5, 1e-3).Rows[^1];
        Assert.Equal((128, 21845, 2.0 * 21845 * 8 * 4, 165.0 * 9 * 8), (row.Side, row.Tokens, row.KeyValueBytes, row.MomentBytes));
        Assert.Equal(128.0 * 128 * ((16 * 32) + (9 * 32 * 32)) * 8, row.FeatureMap);

        // Four blocks of 2 * 640 multiply-adds a pair; the rest of the decoder grows with the pixels only.
        Assert.Equal(4.0 * 2 * 640 * Math.Pow(128, 4), row.DecoderAttention);
        CostRow half = CostReport.Create(64, 8, 0.5, 1e-3).Rows[^1];
        Assert.Equal(4, row.DecoderConvolutions / half.DecoderConvolutions, 12);
    }

    [Theory]
    [InlineData(1, 1e-3)]
    [InlineData(3, 1e-2)]
    public void Errors_on_their_way_through_a_network_stay_below_the_chain_of_bounds(double entry, double tolerance)
    {
        ChainReport report = ChainReport.Measure(KernelSet.Best, 8, 3, entry, tolerance);
        Assert.Equal([VarExecution.Recompute, VarExecution.KvCached], report.Runs.Select(run => run.Mode));
        Assert.All(report.Runs, run =>
        {
            Assert.Equal(["scale 1", "scale 2", "scale 3", "scale 4", "feature map", "decoder attention", "image"], run.Rows.Select(row => row.Stage));
            Assert.Equal(run.Mode == VarExecution.Recompute ? [1, 5, 21, 85, 64, 64, 256] : [1, 4, 16, 64, 64, 64, 256], run.Rows.Select(row => row.Tokens));
            Assert.All(run.Rows, row => Assert.InRange(row.Measured, 0, row.Certified));
            Assert.All(run.Curve, point => Assert.InRange(point.Measured, 0, point.Certified));
            Assert.Contains(run.Rows, row => row.Path == AttentionPath.LowRank);
            Assert.True(run.Curve[^1].Measured < run.Curve[0].Measured / 100 && run.Curve[^1].Certified < run.Curve[0].Certified / 100);
            Assert.True(run.Rows[^1].Measured > 1e-9); // an error there is
        });
    }

    [Fact]
    public void Every_reduction_gains_on_its_head()
    {
        ReductionReport report = ReductionReport.Measure(KernelSet.Best, 2048, 1e-2);
        Assert.All(report.Rows, row =>
        {
            Assert.True(row.With.Cost < row.Without.Cost || row.Reduction == nameof(LowRankReductions.Rebalancing), $"{row}");
            Assert.NotEqual(AttentionPath.Exact, row.PathWith);
            Assert.InRange(row.Error, 0, row.ErrorBound + 1e-5); // exact attention is rounded too
        });
    }
}
