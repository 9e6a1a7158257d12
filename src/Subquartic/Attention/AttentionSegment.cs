namespace Subquartic.Attention;

/// <summary>Queries of one group of tokens and the keys they see: tokens [QueryStart, QueryStart + Queries) see keys [0, Keys).</summary>
/// <param name="QueryStart">First query.</param>
/// <param name="Queries">Number of queries.</param>
/// <param name="Keys">Number of keys.</param>
public readonly record struct AttentionSegment(int QueryStart, int Queries, int Keys);
