using Subquartic.Adapters;
using Subquartic.Training;
using Subquartic.Training.Operations;

namespace Subquartic.Tests.Training.Operations;

public class LoraOperationTests
{
    private const int Rows = 5, Inputs = 6, Outputs = 9, Rank = 4;

    [Fact]
    public void Gradients_match_central_differences() => Check(new LoraLayer("layer", Inputs, Outputs, Rank, 0.75, []));

    [Fact]
    public void Entries_between_a_part_and_anothers_share_of_the_rank_get_no_gradient() => Check(new LoraLayer("layer", Inputs, Outputs, Rank, 2, [0, 2]));

    private static void Check(LoraLayer layer)
    {
        double[] b = GradientCheck.Uniform(5, Outputs * Rank);
        float[] kept = [.. b.Select(value => (float)value)];
        layer.KeepParts(kept);
        Assert.Equal(layer.Parts.Count == 0 ? 0 : Outputs * Rank - (Outputs / 3 * Rank), kept.Count(value => value == 0));
        GradientCheck.Run(
            [
                GradientCheck.Uniform(1, Rows * Inputs), GradientCheck.Uniform(2, Outputs * Inputs), GradientCheck.Uniform(3, Outputs),
                GradientCheck.Uniform(4, Rank * Inputs), [.. kept.Select(value => (double)value)],
            ],
            o => Forward(o, layer),
            (tape, o) =>
            {
                Variable x = GradientCheck.Leaf(tape, o[0], Rows, Inputs);
                Parameter[] p =
                [
                    GradientCheck.Parameter(o[1], Outputs, Inputs), GradientCheck.Parameter(o[2], Outputs),
                    GradientCheck.Parameter(o[3], Rank, Inputs), GradientCheck.Parameter(o[4], Outputs, Rank),
                ];
                p[0].Trainable = false;
                return (tape.Linear(x, p[0], p[1], layer, p[2], p[3]), i => i switch
                {
                    0 => x.Gradient.Span().ToArray(),
                    1 => null, // the weight itself is frozen
                    _ => p[i - 1].Gradient.Span().ToArray(),
                });
            });
    }

    // The restatement knows only the entries of B that belong to the layer, so differences over the others are zero.
    private static double[] Forward(double[][] o, LoraLayer layer) =>
    [
        .. from i in Enumerable.Range(0, Rows)
           from j in Enumerable.Range(0, Outputs)
           select o[2][j] + Enumerable.Range(0, Inputs).Sum(k => o[0][(i * Inputs) + k] * (o[1][(j * Inputs) + k]
               + (layer.Scale * Enumerable.Range(0, Rank).Where(r => Belongs(layer, j, r)).Sum(r => o[4][(j * Rank) + r] * o[3][(r * Inputs) + k])))),
    ];

    private static bool Belongs(LoraLayer layer, int output, int rank) =>
        layer.Parts.Count == 0 || layer.Parts[rank / (Rank / layer.Parts.Count)] == output / (Outputs / 3);
}
