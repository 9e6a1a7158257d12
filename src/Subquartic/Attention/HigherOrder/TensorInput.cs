using Subquartic.Numerics.Tensors;

namespace Subquartic.Attention.HigherOrder;

/// <summary>What tensor attention of order k = Keys.Count + 1 asks for (Alman and Song, arXiv 2310.04064, ICLR 2024): a query meets every
/// tuple of one key from each of the k - 1 sets, with the score s = Scale * sum_l q_l k1_l k2_l …, and the value of a tuple is the
/// elementwise product v1 v2 …: o_i = sum P (v1 v2 …), P = softmax of s over all tuples. Order 2 is ordinary attention.</summary>
/// <param name="Queries">Q (L, d).</param>
/// <param name="Keys">k - 1 matrices (S_s, d), S_s at least 1.</param>
/// <param name="Values">k - 1 matrices (S_s, d_v).</param>
/// <param name="Scale">Factor on the scores, 1/tau in the paper's notation.</param>
public readonly record struct TensorInput(Matrix Queries, IReadOnlyList<Matrix> Keys, IReadOnlyList<Matrix> Values, float Scale)
{
    /// <summary>k.</summary>
    public int Order => Keys.Count + 1;

    /// <summary>Tuples of keys that a query meets, the product of all S_s; exact below 2^53.</summary>
    public double Tuples => Keys.Aggregate(1.0, (product, keys) => product * keys.Rows);

    /// <summary>All keys together, sum of the S_s.</summary>
    public int KeyCount => Keys.Sum(keys => keys.Rows);

    /// <summary>d_v.</summary>
    internal int ValueWidth => Values[0].Columns;

    /// <summary>Tuples of all sets but the last: with one of them fixed, tensor attention is ordinary attention over the last set.</summary>
    internal long PrefixTuples => checked((long)(Tuples / Keys[^1].Rows));

    /// <summary>Refuses shapes that do not fit.</summary>
    /// <exception cref="ArgumentException">They do not.</exception>
    internal void Check(Matrix output)
    {
        Matrix queries = Queries;
        Require(Keys.Count > 0 && Values.Count == Keys.Count, "as many sets of keys as of values, at least one");
        for (int s = 0; s < Keys.Count; s++)
        {
            Require(
                Keys[s].Rows > 0 && Keys[s].Columns == queries.Columns && Values[s].Rows == Keys[s].Rows && Values[s].Columns == Values[0].Columns,
                $"set {s}: keys {Shape(Keys[s])} and values {Shape(Values[s])} fit neither each other nor queries {Shape(queries)} and values {Shape(Values[0])}");
        }

        Require(Tuples / Keys[^1].Rows < 1L << 53, $"{Tuples:g3} tuples of keys are too many");
        Require(
            output.Rows == queries.Rows && output.Columns == ValueWidth,
            $"output {Shape(output)} fits neither queries {Shape(queries)} nor values {Shape(Values[0])}");
    }

    /// <summary>Refuses gradients that do not fit.</summary>
    /// <exception cref="ArgumentException">They do not.</exception>
    internal void Check(Matrix dOutput, in TensorGradient gradient)
    {
        Check(dOutput);
        bool fits = Same(gradient.Queries, Queries) && gradient.Keys.Count == Keys.Count && gradient.Values.Count == Values.Count;
        for (int s = 0; fits && s < Keys.Count; s++)
        {
            fits = Same(gradient.Keys[s], Keys[s]) && Same(gradient.Values[s], Values[s]);
        }

        Require(fits, "the gradients do not have the shapes of queries, keys and values");

        static bool Same(Matrix a, Matrix b) => (a.Rows, a.Columns) == (b.Rows, b.Columns);
    }

    private static void Require(bool condition, string what)
    {
        if (!condition)
        {
            throw new ArgumentException($"Tensor attention: {what}.");
        }
    }

    private static string Shape(Matrix matrix) => $"{matrix.Rows} x {matrix.Columns}";
}
